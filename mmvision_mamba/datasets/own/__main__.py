"""``python -m mmvision_mamba.datasets info DIR``: a dry look at own data."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .data import TASKS, OwnData, own_data
from .detection import Split
from .label_maps import MapSplit, converted
from .summary import LARGE_SIDE, SMALL_SIDE, summarize

_SAMPLES = 12


def add_info(commands) -> None:
    """Add the command to the subparsers of ``python -m mmvision_mamba.datasets``."""
    info = commands.add_parser(
        'info',
        help='say what a folder of images and labels holds, and draw samples',
        description='Says the format, classes, numbers and sizes, and what might surprise, and '
        'draws a page of samples with their labels. Nothing is written into the folder.',
    )
    info.add_argument('folder', metavar='DIR', help='folder of images and labels')
    info.add_argument('--task', choices=TASKS, help='where the folder serves both')
    info.add_argument(
        '--out', type=Path, metavar='FILE', help='the page (default: <name of DIR>_samples.png)'
    )
    info.set_defaults(run=print_info)


def print_info(args: argparse.Namespace) -> None:
    data = own_data(args.folder, args.task)
    # Where the output is no terminal, a line of the table is a line of text.
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    _print(data, console)
    page = args.out or Path(f'{data.folder.name}_samples.png')
    page.parent.mkdir(parents=True, exist_ok=True)
    draw_samples(data, page)
    console.print(Text(f'{page}: samples with their labels'))


def _print(data: OwnData, console: Console) -> None:
    masks = 'boxes and masks' if data.has_masks else 'boxes'
    what = masks if data.task == 'detection' else 'segmentation'
    console.print(Text(f'{data.folder}: {data.format}, {what}, {len(data.classes)} classes'))
    summaries = {name: summarize(data, name) for name in data.splits}
    for name, found in summaries.items():
        line = f'{name}: {found.images:,} images'
        if found.sizes:
            line += ', ' + ' to '.join(f'{w} x {h}' for w, h in dict.fromkeys(found.sizes))
        if found.shares is not None:
            small, medium, large = found.shares
            line += (
                f'; {sum(found.classes):,} objects, {small:.0%} small (below {SMALL_SIDE}² pixels),'
                f' {medium:.0%} medium, {large:.0%} large (from {LARGE_SIDE}²)'
            )
        if found.empty:
            line += f'; {found.empty:,} images show none'
        console.print(Text(line))
    console.print(_table(data, summaries))
    for note in data.notes:
        console.print(Text(f'note: {note}'))


def _table(data: OwnData, summaries: dict) -> Table:
    table = Table()
    table.add_column('label', justify='right')
    table.add_column('class', overflow='fold')
    form = '{:,}' if data.task == 'detection' else '{:.1%}'
    what = 'objects' if data.task == 'detection' else 'pixels'
    for name in summaries:
        table.add_column(f'{what} in {name}', justify='right')
    for label, name in enumerate(data.classes):
        counts = [form.format(found.classes[label]) for found in summaries.values()]
        table.add_row(str(label), Text(name), *counts)
    return table


def draw_samples(data: OwnData, page: Path) -> None:
    """Draw a page of images with their labels, evenly spread over train and val.

    Raises:
        InputError: An image cannot be read.
    """
    from ...inference.drawing.annotate import draw
    from ...inference.drawing.sheets import contact_sheet
    from ...inference.image_files import read_image

    def drawn() -> Iterator[np.ndarray]:
        for path, result in results:
            image = read_image(path)
            yield draw(image, result(image.shape[:2]), opacity=0.4, scores=False)

    results = list(_samples(data))
    sheet = contact_sheet(drawn(), [path.name for path, _ in results], columns=4)
    Image.fromarray(sheet).save(page)


def _samples(data: OwnData) -> Iterator[tuple[Path, object]]:
    """Paths of images, each with what makes a result of its labels, given its height and width."""
    counts = {'train': _SAMPLES * 2 // 3, 'val': _SAMPLES // 3}
    for name, count in counts.items():
        split = data.splits[name]
        of_split = _labelled(split) if isinstance(split, Split) else split.pairs
        for index in np.linspace(0, len(of_split) - 1, min(count, len(of_split)), dtype=int):
            if isinstance(split, MapSplit):
                image, label = of_split[index]
                yield data.folder / image, lambda _, label=label: _map_result(data, label)
            else:
                image, objects = of_split[index]
                yield (
                    split.folder / image['file_name'],
                    lambda size, objects=objects: _object_result(data, objects, size),
                )


def _labelled(split: Split) -> list[tuple[dict, list[dict]]]:
    """Images that show objects, with them."""
    objects = {}
    for annotation in split.annotations:
        objects.setdefault(annotation['image_id'], []).append(annotation)
    return [(image, objects[image['id']]) for image in split.images if image['id'] in objects]


def _object_result(data: OwnData, objects: list[dict], size: tuple[int, int]):
    import supervision as sv
    from pycocotools import mask as coco_mask

    from ...inference.drawing.colors import palette_for
    from ...inference.results import DetectionResult, tight_boxes

    boxes = np.array([each['bbox'] for each in objects], np.float32)
    boxes[:, 2:] += boxes[:, :2]
    masks = None
    if data.has_masks:
        parts = []
        for each in objects:  # one at a time, since an image may be large and full
            lengths = each['segmentation']
            if not isinstance(lengths, dict) or isinstance(lengths['counts'], list):
                lengths = coco_mask.frPyObjects(lengths, *size)
            mask = coco_mask.decode(lengths)
            mask = (mask.any(axis=-1) if mask.ndim == 3 else mask)[None].astype(bool)
            parts.append(sv.CompactMask.from_dense(mask, tight_boxes(mask), size))
        masks = sv.CompactMask.merge(parts)
    return DetectionResult(
        image_size=size,
        boxes=boxes,
        scores=np.ones(len(boxes), np.float32),
        labels=np.array([each['category_id'] - 1 for each in objects]),
        class_names=data.classes,
        palette=palette_for(len(data.classes)),
        compact_masks=masks,
    )


def _map_result(data: OwnData, label: Path):
    from ...inference.drawing.colors import palette_for
    from ...inference.results import SegmentationResult

    labels = converted(data.folder / label, data.meaning)
    colours = data.meaning.colours
    fits = colours is not None and len(colours) == len(data.classes)
    return SegmentationResult(
        image_size=labels.shape,
        class_names=data.classes,
        palette=np.array(colours, np.uint8) if fits else palette_for(len(data.classes)),
        label_map=labels,
    )
