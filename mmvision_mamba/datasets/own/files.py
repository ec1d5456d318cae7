"""The files of a folder, which of them belong together, and which split each is of.

Tools differ in where they put things: ``images/train/a.jpg`` and ``labels/train/a.txt``,
``train/images/a.jpg`` and ``train/labels/a.txt``, ``JPEGImages/a.jpg`` and ``Annotations/a.xml``,
or side by side. Without the words that name a kind or a split, the paths of an image and of its
label are the same.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ...errors import InputError

IMAGE_SUFFIXES = frozenset(('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp'))
_SPLITS = {
    'train': ('train', 'training'),
    'val': ('val', 'valid', 'validation', 'dev'),
    'test': ('test', 'testing'),
}
SPLIT_OF_WORD = {word: split for split, words in _SPLITS.items() for word in words}
_IMAGE_WORDS = frozenset(['image', 'images', 'img', 'imgs', 'jpegimages', 'photos'])
_LABEL_WORDS = frozenset(
    [
        'label',
        'labels',
        'annotation',
        'annotations',
        'ann',
        'anns',
        'mask',
        'masks',
        'xml',
        'xmls',
        'json',
        'jsons',
        'txt',
        'segmentationclass',
        'segmentationclassraw',
        'segmap',
        'segmaps',
        'labelmap',
        'labelmaps',
        'gt',
        'groundtruth',
        'labelme',
    ]
)
_SKIPPED = frozenset(('work_dirs', '__MACOSX', 'SegmentationObject'))  # of runs, of macOS, of VOC
_MOST_FILES = 5_000_000


class File(NamedTuple):
    """A file of the folder.

    Attributes:
        path: Relative to the folder.
        of_labels: Whether it lies in a folder that is named for labels or masks.
        split: ``'train'``, ``'val'`` or ``'test'`` as its folders say; None where they do not.
        key: What it has in common with its image or label.
    """

    path: Path
    of_labels: bool
    split: str | None
    key: tuple[str, ...]

    @property
    def suffix(self) -> str:
        return self.path.suffix.lower()


def walk(folder: Path) -> list[File]:
    """All files below a folder but hidden ones and those of runs, in the order of their names.

    Raises:
        InputError: It is no folder, holds no file, or too many.
    """
    if not folder.exists():
        raise InputError(f'the data folder {folder} does not exist')
    if not folder.is_dir():
        raise InputError(f'{folder} is a file: give the folder that holds the images and labels')
    files, entered = [], set()
    for root, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in entered:  # a link to a folder above it
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(
            name for name in folders if not name.startswith('.') and name not in _SKIPPED
        )
        relative = Path(root).relative_to(folder)
        files += [_file(relative / name) for name in sorted(names) if not name.startswith('.')]
        if len(files) > _MOST_FILES:
            raise InputError(f'{folder} holds more than {_MOST_FILES:,} files: give one data set')
    if not files:
        raise InputError(f'the data folder {folder} holds no file')
    return files


def _file(path: Path) -> File:
    split, of_labels, key = None, False, []
    for name in path.parts[:-1]:
        words = re.findall('[a-z]+', name.lower())
        splits = [SPLIT_OF_WORD[word] for word in words if word in SPLIT_OF_WORD]
        split = splits[0] if splits else split
        of_labels = of_labels or any(word in _LABEL_WORDS for word in words)
        known = _IMAGE_WORDS | _LABEL_WORDS | SPLIT_OF_WORD.keys()
        if not any(word in known for word in words):
            key.append(name)
    return File(path, of_labels, split, (*key, path.stem))


def is_image(file: File) -> bool:
    return file.suffix in IMAGE_SUFFIXES and not file.of_labels


class Pairs(NamedTuple):
    """Images with their labels.

    Attributes:
        pairs: Image and label; None where an image has none.
        lone_labels: Labels of no image.
        doubles: Images whose label another image has.
    """

    pairs: list[tuple[File, File | None]]
    lone_labels: list[File]
    doubles: list[File]

    @property
    def count(self) -> int:
        return sum(label is not None for _, label in self.pairs)


def pair(images: Iterable[File], labels: Iterable[File], ending: str = '') -> Pairs:
    """Find the label of each image: by its place among the folders, or else by its name alone.

    Args:
        ending: What the names of labels end in beyond those of their images.
    """
    images, labels = list(images), list(labels)

    def place(file: File, cut: str = '') -> tuple:
        return file.split, *file.key[:-1], file.key[-1].removesuffix(cut)

    def name(file: File, cut: str = '') -> str:
        return file.key[-1].removesuffix(cut)

    found = _pair_by(place, images, labels, ending)
    if found.count:
        return found
    names = [name(image) for image in images], [name(label, ending) for label in labels]
    if all(len(set(each)) == len(each) for each in names):
        return _pair_by(name, images, labels, ending)
    return found


def _pair_by(key, images: list[File], labels: list[File], ending: str) -> Pairs:
    waiting = {key(label, ending): label for label in labels}
    pairs, doubles, taken = [], [], set()
    for image in images:
        place = key(image)
        if place in taken:
            doubles.append(image)
            continue
        label = waiting.get(place)
        if label is not None:
            taken.add(place)
        pairs.append((image, label))
    lone = [label for place, label in waiting.items() if place not in taken]
    return Pairs(pairs, lone, doubles)


def split_of_pair(image: File, label: File | None) -> str | None:
    return image.split or (label.split if label is not None else None)


def listed_splits(folder: Path, files: Iterable[File], among: str = 'Main') -> dict[str, str]:
    """Splits by the name of the image, as lists such as ``ImageSets/Main/train.txt`` tell them.

    Args:
        among: The folder to believe, where several hold lists.
    """
    lists = [
        file
        for file in files
        if file.suffix == '.txt' and file.path.stem.lower() in SPLIT_OF_WORD and not file.of_labels
    ]
    preferred = [file for file in lists if among in file.path.parts]
    splits = {}
    for file in preferred or lists:
        for line in read_text(folder, file.path).splitlines():
            if line.strip():
                splits.setdefault(_listed_name(line), SPLIT_OF_WORD[file.path.stem.lower()])
    return splits


def _listed_name(line: str) -> str:
    """Of a path the name alone, which is looked up among the files that were found."""
    stem, suffix = os.path.splitext(re.split(r'[\\/]', line.strip())[-1])
    # Lists of VOC's name no suffix, and may say behind the name whether a class is there.
    return stem if suffix.lower() in IMAGE_SUFFIXES else line.split()[0]


def read_bytes(folder: Path, path: Path, most: int = 64 * 2**20) -> bytes:
    """The content of a file of the folder.

    Raises:
        InputError: It is no file, cannot be read, or is longer than ``most`` bytes.
    """
    file = folder / path
    try:
        if not file.is_file():  # reading a device or a pipe might never end
            raise InputError(f'{file} is not a file')
        if file.stat().st_size > most:
            raise InputError(f'{file} is longer than the {most // 2**20} MB that are read')
        return file.read_bytes()
    except OSError as error:
        raise InputError(f'{file} cannot be read: {error.strerror}') from error


def read_text(folder: Path, path: Path, most: int = 64 * 2**20) -> str:
    """A text file of the folder, in UTF-8 with or without a byte order mark.

    Raises:
        InputError: As :func:`read_bytes`, or it is no such text.
    """
    try:
        return read_bytes(folder, path, most).decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise InputError(f'{folder / path} is not text in UTF-8 at byte {error.start}') from error
