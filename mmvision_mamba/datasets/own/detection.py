"""Boxes and masks of a folder, in whatever format, as COCO's format holds them."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from ...errors import InputError
from ..checking.problems import shown
from .class_names import clean_all
from .files import (
    SPLIT_OF_WORD,
    File,
    Pairs,
    is_image,
    listed_splits,
    pair,
    read_text,
    split_of_pair,
)
from .image_sizes import image_size
from .labels import Labelled, read_labelme, read_voc, read_yolo
from .notes import Notes

_NAMES_FILES = ('classes.txt', 'obj.names', 'labels.txt', 'names.txt')
_TOLERANCE = 1.0  # pixels by which a box may leave its image unmentioned


@dataclass
class Split:
    """Images and their objects, in the terms of COCO's format.

    Attributes:
        folder: That the images' ``file_name`` is relative to.
        images, annotations: Entries of COCO's lists; category ``k + 1`` is class ``k``.
        file: An annotation file that says the same, which can be trained on as it is; or None.
    """

    folder: Path
    images: list[dict] = field(default_factory=list)
    annotations: list[dict] = field(default_factory=list)
    file: Path | None = None

    def __len__(self) -> int:
        return len(self.images)


@dataclass
class Detection:
    """What a folder holds.

    Attributes:
        format: For instance ``'YOLO'``.
        classes: Names, in the order of the labels.
        splits: By ``'train'``, ``'val'``, ``'test'``, or None where the folder tells none.
        notes: What was found, in sentences.
    """

    format: str
    classes: tuple[str, ...]
    splits: dict[str | None, Split]
    notes: Notes


class ImageList:
    """Collects images and their objects into splits, and counts what is not as it should be."""

    def __init__(self, folder: Path, notes: Notes) -> None:
        self.folder, self.notes = folder, notes
        self.splits: dict[str | None, Split] = {}
        self.unreadable, self.outside, self.empty = [], [], []

    def size(self, file: File) -> tuple[int, int] | None:
        found = image_size(self.folder / file.path)
        if found is None:
            self.unreadable.append(file)
        return found

    def add(
        self, file: File, split: str | None, size: tuple[int, int], objects: list[Labelled]
    ) -> None:
        """Add an image.

        Args:
            size: Width and height.
            objects: With numbers of classes as labels.
        """
        part = self.splits.setdefault(split, Split(self.folder))
        image_id = len(part.images) + 1
        name = file.path.as_posix()
        part.images.append(dict(id=image_id, file_name=name, width=size[0], height=size[1]))
        for each in objects:
            box = _within(each.box, size)
            if max(abs(a - b) for a, b in zip(box, each.box)) > _TOLERANCE:
                self.outside.append(file)
            width, height = box[2] - box[0], box[3] - box[1]
            if width <= 0 or height <= 0:
                self.empty.append(file)
                continue
            annotation = dict(
                id=len(part.annotations) + 1,
                image_id=image_id,
                category_id=each.label + 1,
                bbox=[box[0], box[1], width, height],
                area=sum(map(polygon_area, each.polygons or ())) or width * height,
                iscrowd=0,
            )
            if each.polygons:
                annotation['segmentation'] = each.polygons
            part.annotations.append(annotation)

    def say(self) -> None:
        note = self.notes.count
        note(self.unreadable, 'image', 'images', 'cannot be read and left out')
        note(self.outside, 'box reaches', 'boxes reach', 'beyond the image, and cut off')
        note(self.empty, 'object has', 'objects have', 'no area in the image, and left out')


def polygon_area(polygon: list[float]) -> float:
    """Of a polygon x, y, x, y, ..., in square pixels."""
    x, y = polygon[::2], polygon[1::2]
    return abs(sum(a * d - b * c for a, b, c, d in zip(x, y, x[1:] + x[:1], y[1:] + y[:1]))) / 2


def _within(box: list[float], size: tuple[int, int]) -> list[float]:
    return [min(max(number, 0.0), float(size[i % 2])) for i, number in enumerate(box)]


def label_files(folder: Path, files: list[File]) -> dict[str, Pairs]:
    """Images with their label files, by format; those formats that there are."""
    images = [file for file in files if is_image(file)]
    found = {
        name: pair(images, [file for file in files if file.suffix == suffix])
        for name, suffix in (('YOLO', '.txt'), ('Pascal VOC', '.xml'), ('LabelMe', '.json'))
    }
    return {name: pairs for name, pairs in found.items() if pairs.count}


def read_label_files(name: str, folder: Path, files: list[File], pairs: Pairs) -> Detection:
    """Read a folder of one label file an image.

    Args:
        name: Of the format.
        pairs: Of :func:`label_files`.

    Raises:
        InputError: Naming the file that cannot be read, or that says what cannot be.
    """
    notes = Notes()
    notes.count(
        pairs.doubles, 'image', 'images', 'left out: another of that name has its label file'
    )
    lone = [file for file in pairs.lone_labels if _looks_like_labels(name, file)]
    notes.count(lone, 'label file', 'label files', 'of no image, and left out')
    reader = _read_yolo if name == 'YOLO' else _read_named
    return reader(name, folder, files, pairs, notes)


def _looks_like_labels(name: str, file: File) -> bool:
    return name != 'YOLO' or (file.of_labels and file.path.name.lower() not in _NAMES_FILES)


def _read_named(
    name: str, folder: Path, files: list[File], pairs: Pairs, notes: Notes
) -> Detection:
    """Pascal VOC and LabelMe, where the label files name the classes."""
    skipped = Counter()
    read = read_voc if name == 'Pascal VOC' else lambda *where: read_labelme(*where, skipped)
    labelled = [(image, label) for image, label in pairs.pairs if label is not None]
    unlabelled = [image for image, label in pairs.pairs if label is None]
    notes.count(unlabelled, 'image', 'images', 'without a label file, and left out')
    objects = [read(folder, label.path) for _, label in labelled]
    classes = tuple(sorted({each.label for of_image in objects for each in of_image}))
    if not classes:
        raise InputError(f'{folder}: {len(labelled)} {name} files, and no object in any of them')
    number = {class_name: index for index, class_name in enumerate(classes)}
    images = ImageList(folder, notes)
    split_of = _splits(folder, files, labelled)
    for (image, label), of_image in zip(labelled, objects):
        size = images.size(image)
        if size is not None:
            numbered = [each._replace(label=number[each.label]) for each in of_image]
            images.add(image, split_of(image, label), size, numbered)
    images.say()
    for kind, count in skipped.items():
        notes.say(f'{count} shapes of type {kind} left out: rectangles and polygons are read')
    return Detection(name, classes, images.splits, notes)


def _read_yolo(name: str, folder: Path, files: list[File], pairs: Pairs, notes: Notes) -> Detection:
    source, content = _yolo_names(folder, files)
    classes, keypoint_values = content['names'], content['keypoint_values']
    unlabelled = [image for image, label in pairs.pairs if label is None]
    notes.count(unlabelled, 'image', 'images', 'without a label file: taken to show no object')
    images = ImageList(folder, notes)
    split_of = _splits(folder, files, pairs.pairs, content['splits'])
    numbers, unnamed = Counter(), None
    for image, label in pairs.pairs:
        size = images.size(image)
        if size is None:
            continue
        objects = read_yolo(folder, label.path, size, keypoint_values) if label else []
        numbers.update(each.label for each in objects)
        if unnamed is None and any(not 0 <= each.label < len(classes) for each in objects):
            unnamed = label
        images.add(image, split_of(image, label), size, objects)
    if unnamed is not None:
        raise InputError(_shifted(folder / unnamed.path, numbers, classes, source))
    if not numbers:
        raise InputError(f'{folder}: {pairs.count} YOLO files, and no object in any of them')
    images.say()
    return Detection(name, classes, images.splits, notes)


def _shifted(file: Path, numbers: Counter, classes: tuple[str, ...], source: Path) -> str:
    low, high = min(numbers), max(numbers)
    words = (
        f'{file}: a class has the number {high if high >= len(classes) else low}, and {source} '
        f'names {len(classes)}, 0 to {len(classes) - 1}'
    )
    if low == 1 and high == len(classes):
        return f'{words}; the labels use 1 to {high}, as if counted from 1: take 1 off each'
    return f'{words}: correct the label files or the names'


def _splits(
    folder: Path,
    files: list[File],
    pairs: list[tuple[File, File | None]],
    prefixes: dict[Path, str] | None = None,
) -> Callable[[File, File | None], str | None]:
    """Which split an image is of: as folders are named, data.yaml says, or lists of images do."""
    if any(split_of_pair(image, label) for image, label in pairs):
        return split_of_pair
    listed = listed_splits(folder, files)
    images = {image.path: image for image, _ in pairs}

    def split(image: File, label: File | None) -> str | None:
        for prefix, name in (prefixes or {}).items():
            if image.path.is_relative_to(prefix):
                return name
        return listed.get(images[image.path].path.stem)

    return split


def _yolo_names(folder: Path, files: list[File]) -> tuple[Path, dict]:
    """The file that names the classes, relative to the folder, and what it says."""
    tables = [file for file in files if file.suffix in ('.yaml', '.yml')]
    for file in sorted(tables, key=lambda file: (file.path.stem.lower() != 'data', file.path)):
        content = _read_yaml(folder, file.path)
        if isinstance(content, dict) and 'names' in content:
            return file.path, _of_yaml(content, folder / file.path)
    for file in files:
        if file.path.name.lower() in _NAMES_FILES:
            names = [n for n in read_text(folder, file.path).splitlines() if n.strip()]
            names = clean_all(names, str(folder / file.path))
            return file.path, dict(names=names, keypoint_values=0, splits={})
    raise InputError(
        f'{folder} holds YOLO labels and no data.yaml with names, nor classes.txt: name the '
        'classes in one of them, in the order of their numbers'
    )


def _read_yaml(folder: Path, path: Path) -> object:
    text = read_text(folder, path, most=2**20)
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        words = ' '.join(str(error).split())
        raise InputError(f'{folder / path} is not YAML: {shown(words, 200)}') from error


def _of_yaml(content: dict, where: Path) -> dict:
    names = content['names']
    if isinstance(names, dict):
        numbered = {str(key).strip(): name for key, name in names.items()}
        if set(numbered) != {str(number) for number in range(len(numbered))}:
            raise InputError(
                f'{where}: names has the numbers {shown(", ".join(numbered))}, and should have 0 '
                f'to {len(numbered) - 1}'
            )
        names = [numbered[str(number)] for number in range(len(numbered))]
    if not isinstance(names, list):
        raise InputError(f'{where}: names is {shown(names)}, and should be a list of names')
    count = content.get('nc')
    if isinstance(count, int) and count != len(names):
        raise InputError(f'{where}: nc is {count}, and names has {len(names)}')
    shape = content.get('kpt_shape')
    are_numbers = isinstance(shape, list) and [type(number) for number in shape] == [int, int]
    return dict(
        names=clean_all(names, f'{where}: names'),
        keypoint_values=shape[0] * shape[1] if are_numbers else 0,
        splits=_prefixes(content),
    )


def _prefixes(content: dict) -> dict[Path, str]:
    """Folders of images that data.yaml gives for a split, without what leads out of its own."""
    found = {}
    for word, split in SPLIT_OF_WORD.items():
        folders = content.get(word)
        for given in folders if isinstance(folders, list) else [folders]:
            if isinstance(given, str):
                parts = [part for part in Path(given).parts if part not in ('..', '.', '/')]
                if parts:
                    found.setdefault(Path(*parts), split)
    return found


def trains_masks(splits: Iterable[Split]) -> tuple[int, int]:
    """How many objects have a mask, and how many have a box alone."""
    masks = boxes = 0
    for split in splits:
        for annotation in split.annotations:
            if annotation.get('segmentation'):
                masks += 1
            else:
                boxes += 1
    return masks, boxes
