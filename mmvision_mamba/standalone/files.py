"""Files: which images are meant, and what is written of them, in tools/predict.py's layout."""

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from .coco import coco_annotations
from .description import Description
from .drawing import draw
from .errors import InputError
from .results import Detections, Segmentation

# The mark of a folder of results; that of tools/predict.py.
MARK = '.prediction.lock'
# fmt: off
_SUFFIXES = frozenset({
    '.avif', '.bmp', '.dib', '.gif', '.jfif', '.jp2', '.jpe', '.jpeg', '.jpg', '.mpo', '.pbm',
    '.pgm', '.png', '.pnm', '.ppm', '.tga', '.tif', '.tiff', '.webp',
})
# fmt: on


def find_images(inputs: Iterable[str]) -> dict[str, Path]:
    """Files, and those in folders that have an image's suffix, by the names of their results.

    A name is the path below the innermost folder that holds all inputs.

    Raises:
        InputError: An input is not there, or there is no image at all.
    """
    paths: dict[str, Path] = {}
    bases = set()
    for text in inputs:
        folder = os.path.isdir(text)
        if not folder and not os.path.isfile(text):
            raise InputError(f'{text}: no such file or folder')
        bases.add(os.path.abspath(text if folder else os.path.dirname(text)))
        names = sorted(os.listdir(text)) if folder else [text]
        for name in names:
            path = Path(text, name) if folder else Path(text)
            is_image = path.suffix.lower() in _SUFFIXES and not name.startswith('.')
            if not folder or (is_image and path.is_file()):
                paths.setdefault(os.path.abspath(path), path)
    if not paths:
        raise InputError(f'no image in {" ".join(inputs)}')
    root = os.path.commonpath(bases)
    return {os.path.relpath(at, root).replace(os.sep, '/'): path for at, path in paths.items()}


def take_folder(folder: Path, sources: Iterable[Path]) -> None:
    """Make a folder for results, or take that of an earlier run.

    Raises:
        InputError: It cannot be written to, holds files of others, or a source.
    """
    true = os.path.realpath(folder)
    for parent in {source.parent for source in sources}:
        if Path(os.path.realpath(parent)).is_relative_to(true):
            raise InputError(f'{parent} lies in {folder}: give --out a new folder')
    try:
        if folder.is_dir() and not Path(folder, MARK).exists() and any(folder.iterdir()):
            raise InputError(
                f'{folder} holds files that no run of this tool wrote: give --out a new folder'
            )
        folder.mkdir(parents=True, exist_ok=True)
        Path(folder, MARK).touch()
    except OSError as error:
        raise InputError(f'{error.strerror}: {folder} cannot be written to') from error


class Writer:
    """Writes results: each file whole or not at all.

    Args:
        folder: For the results.
        kinds: Of image, coco and png.
        names: Of all images.
        description: Of the model.
        score: The lowest of an object that is written.

    Attributes:
        objects: How many were written.
    """

    def __init__(
        self,
        folder: Path,
        kinds: Sequence[str],
        names: Sequence[str],
        description: Description,
        score: float,
    ) -> None:
        self._folder, self._kinds, self._score = folder, kinds, score
        self._description = description
        self._drawn = dict(zip(names, output_names(names, ('.jpg', '.jpeg', '.png'))))
        self._maps = dict(zip(names, output_names(names, ())))
        self._images: list[dict] = []
        self._annotations: list[dict] = []
        self.objects = 0
        if 'png' in kinds:
            _put(folder / 'legend.csv', _legend(description))

    def write(self, name: str, image: np.ndarray, found: Detections | Segmentation) -> None:
        """Write what belongs to one image, and keep what goes in the file of all."""
        classes, palette = self._description.classes, self._description.palette
        if 'image' in self._kinds:
            path = self._folder / 'images' / self._drawn[name]
            _put_image(path, draw(image, found, classes, palette, self._score))
        if 'png' in self._kinds:
            path = self._folder / 'labels' / self._maps[name]
            _put_image(path, label_map_image(found.label_map, palette))
        if isinstance(found, Detections):
            self.objects += int((found.scores >= self._score).sum())
        if 'coco' in self._kinds:
            height, width = found.size
            number = len(self._images) + 1
            entry = dict(id=number, file_name=name, width=width, height=height)
            self._images.append(entry)
            for annotation in coco_annotations(found, self._score):
                place = dict(id=len(self._annotations) + 1, image_id=number)
                self._annotations.append(place | annotation)

    def finish(self) -> None:
        """Write the file of all images."""
        if 'coco' in self._kinds:
            categories = [
                dict(id=place + 1, name=name)
                for place, name in enumerate(self._description.classes)
            ]
            lists = dict(categories=categories, images=self._images, annotations=self._annotations)
            _put(self._folder / 'predictions.json', json.dumps(lists).encode())


def label_map_image(label_map: np.ndarray, palette: Sequence[Sequence[int]]) -> Image.Image:
    """8 bit with the classes' colours, or 16 bit where there are more than 256 classes."""
    if len(palette) > 256:
        return Image.fromarray(label_map.astype(np.uint16))
    image = Image.fromarray(label_map.astype(np.uint8))
    image.putpalette(np.array(palette, np.uint8).tobytes())
    return image


def output_names(names: Sequence[str], keep: Sequence[str]) -> list[str]:
    """Names of results, one of each image, that never fall together.

    ``a.tif`` gives ``a.png``, or ``a.tif.png`` where ``a.jpg`` would give the same; a name that
    ends in one of ``keep`` stays as it is.
    """

    def named(name: str) -> str:
        path = PurePosixPath(name)
        return name if path.suffix.lower() in keep else str(path.with_suffix('.png'))

    short = [named(name) for name in names]
    counts = Counter(short)
    chosen = [
        new if counts[new] == 1 or new == name else f'{name}.png' for new, name in zip(short, names)
    ]
    return chosen if len(set(chosen)) == len(names) else [f'{name}.png' for name in names]


def _legend(description: Description) -> bytes:
    rows = io.StringIO()
    table = csv.writer(rows)
    table.writerow(['index', 'name', 'color'])
    for index, (name, color) in enumerate(zip(description.classes, description.palette)):
        table.writerow([index, name, '#{:02x}{:02x}{:02x}'.format(*color)])
    return rows.getvalue().encode()


def _put_image(path: Path, image: Image.Image) -> None:
    encoded = io.BytesIO()
    if path.suffix.lower() == '.png':
        image.save(encoded, 'png', compress_level=1)
    else:
        image.save(encoded, 'jpeg', quality=92)
    _put(path, encoded.getvalue())


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'{path.name[:50]}.{os.getpid():08x}.partial')
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
