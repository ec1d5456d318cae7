"""Label maps read from the folders that ``predict.py`` and ``test.py`` write."""

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ....errors import InputError
from ..data import SegmentationData

LabelMaps = Callable[[Iterable[int]], Iterator[np.ndarray]]
"""Gives the predicted (H, W) int64 classes of images, by their places in the data set."""


def read_label_maps(folder: str | Path, data: SegmentationData) -> LabelMaps:
    """Label maps of a folder of PNG files, which are read when they are asked for.

    Args:
        folder: Of ``predict.py`` (that with ``legend.csv``, or ``labels`` in it), whose values are
            classes; or of ``test.py --out``, whose values are as the data set's own, from 1 on
            where 0 is unlabelled there.
        data: What they are of.

    Raises:
        InputError: The folder is of other classes, or lacks images; on reading, a file is no label
            map of its image.
    """
    folder = Path(folder)
    if (folder / 'labels').is_dir():
        folder = folder / 'labels'
    legend = folder.parent / 'legend.csv'
    shift = int(data.reduce_zero_label)
    if legend.is_file() and folder.name == 'labels':
        _check_legend(legend, data.class_names)
        shift = 0
    files = _files_of(data.paths, folder)

    def read(places: Iterable[int]) -> Iterator[np.ndarray]:
        for place in places:
            yield _read(files[place], shift, len(data.class_names))

    return read


def _check_legend(legend: Path, class_names: tuple[str, ...]) -> None:
    try:
        names = [row['name'] for row in csv.DictReader(legend.read_text().splitlines())]
    except (KeyError, ValueError, csv.Error) as error:
        raise InputError(f'{legend} is no legend of predict.py') from error
    if names != list(class_names):
        raise InputError(
            f'{legend} has the classes {", ".join(names[:6])} ..., and the data set '
            f'{", ".join(class_names[:6])} ...: not the same in the same order'
        )


def _files_of(paths: list[Path], folder: Path) -> list[Path]:
    """The label map of each image: of its name, and of its folders' where several have that."""
    by_stem = defaultdict(list)
    for file in sorted(folder.rglob('*.png')):
        by_stem[file.stem].append(file)
    found = []
    for path in paths:
        files = by_stem[path.stem]
        if len(files) > 1:
            ends = [file.relative_to(folder).with_suffix('').parts for file in files]
            own = path.with_suffix('').parts
            files = [f for f, end in zip(files, ends) if own[-len(end) :] == end]
        found.append(files[0] if len(files) == 1 else None)
    lacking = [path for path, file in zip(paths, found) if file is None]
    if lacking:
        raise InputError(
            f'{folder} has no label map, or several, of {len(lacking):,} of {len(paths):,} images, '
            f'for instance {lacking[0].stem}.png'
        )
    return found


def _read(file: Path, shift: int, classes: int) -> np.ndarray:
    try:
        with Image.open(file, formats=['PNG']) as image:
            if image.mode not in ('L', 'P', 'I;16', 'I'):
                raise InputError(f'{file} is in colours ({image.mode}): expected a label map')
            labels = np.asarray(image).astype(np.int64) - shift
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(f'{file} cannot be read as PNG: {error}') from error
    if labels.min(initial=0) < 0 or labels.max(initial=0) >= classes:
        low, high = labels.min() + shift, labels.max() + shift
        raise InputError(
            f'{file} has values from {low} to {high}; expected {shift} to {classes - 1 + shift}'
        )
    return labels
