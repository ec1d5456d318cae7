"""Images with label maps: their classes, and what the values or colours in the maps mean."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from ...errors import InputError
from ..checking.images import FORMATS, IGNORED
from ..checking.problems import shown
from .class_names import clean_all
from .files import (
    IMAGE_SUFFIXES,
    File,
    Pairs,
    is_image,
    listed_splits,
    pair,
    read_text,
    split_of_pair,
)
from .notes import Notes

_TABLES = re.compile(
    r'(classes|class_names|labels|label_colou?rs|class_colou?rs|class_dict|colou?rmap|codes)'
    r'\.(txt|csv)'
)
# What tools put behind an image's name for its map.
_ENDINGS = ('', '_mask', '_label', '_labels', '_gt', '_seg', '_L', '-mask', '_labelIds')
_LOSSY = ('.jpg', '.jpeg', '.webp')
_LOOKED_AT = 200  # maps, to find what their values mean


@dataclass
class MapSplit:
    """Pairs of an image and its label map, both relative to the folder."""

    pairs: list[tuple[Path, Path]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.pairs)


@dataclass
class Meaning:
    """How a pixel of a map says its class.

    Attributes:
        kind: ``'index'``, as BaseSegDataset reads maps; ``'values'`` or ``'colours'``, which are
            converted.
        reduce_zero_label: Of ``'index'``: whether 0 is unlabelled and ``k + 1`` is class ``k``.
        values: The class of each value of ``'index'`` and ``'values'``; others are unlabelled.
        colours: Of each class, 3 numbers of 0..255; None without a table of colours.
    """

    kind: str
    reduce_zero_label: bool = False
    values: dict[int, int] = field(default_factory=dict)
    colours: list[tuple[int, int, int]] | None = None


@dataclass
class LabelMaps:
    """What a folder holds; see :class:`mmvision_mamba.datasets.own.OwnData`."""

    classes: tuple[str, ...]
    meaning: Meaning
    splits: dict[str | None, MapSplit]
    notes: Notes


def find_label_maps(files: list[File]) -> Pairs | None:
    """Images with the maps that lie in a folder named for labels, or are named for them beside."""
    images_and_maps = [file for file in files if file.suffix in IMAGE_SUFFIXES]
    best = None
    for ending in _ENDINGS:
        maps = [
            file
            for file in images_and_maps
            if file.path.stem.endswith(ending) and (file.of_labels or ending)
        ]
        taken = {file.path for file in maps}
        images = [file for file in images_and_maps if is_image(file) and file.path not in taken]
        pairs = pair(images, maps, ending)
        if pairs.count > (best.count if best else 0):
            best = pairs
    return best


def read_label_maps(folder: Path, files: list[File], pairs: Pairs) -> LabelMaps:
    """Read the list of classes, and find what the maps' values mean.

    Args:
        pairs: Of :func:`find_label_maps`.

    Raises:
        InputError: There is no list of classes, or the maps do not fit it; naming a map.
    """
    notes = Notes()
    source, classes, colours = read_table(folder, files)
    labelled = [(image, label) for image, label in pairs.pairs if label is not None]
    unlabelled = [image for image, label in pairs.pairs if label is None]
    notes.count(unlabelled, 'image', 'images', 'without a label map, and left out')
    notes.count(pairs.lone_labels, 'label map', 'label maps', 'of no image, and left out')
    looked_at = labelled[:: max(len(labelled) // _LOOKED_AT, 1)]
    seen = [look(folder / label.path) for _, label in looked_at]
    classes, meaning = _meaning(seen, classes, colours, source, notes)
    splits = {}
    listed = {}
    if not any(split_of_pair(*each) for each in labelled):
        listed = listed_splits(folder, files, among='Segmentation')
    for image, label in labelled:
        split = split_of_pair(image, label) or listed.get(image.path.stem)
        splits.setdefault(split, MapSplit()).pairs.append((image.path, label.path))
    return LabelMaps(classes, meaning, splits, notes)


def read_table(
    folder: Path, files: list[File]
) -> tuple[Path, tuple[str, ...], list[tuple[int, int, int]] | None]:
    """The file that names the classes, their names, and their colours if it gives them."""
    for file in files:
        if _TABLES.fullmatch(file.path.name.lower()) and len(file.path.parts) <= 2:
            rows = _rows(read_text(folder, file.path, most=2**20), folder / file.path)
            names = clean_all([name for name, _ in rows], str(folder / file.path))
            colours = [colour for _, colour in rows]
            if any(colour is None for colour in colours):
                if any(colour is not None for colour in colours):
                    raise InputError(
                        f'{folder / file.path}: some classes have a colour, others none'
                    )
                return file.path, names, None
            if len(set(colours)) < len(colours):
                raise InputError(f'{folder / file.path}: two classes have the same colour')
            return file.path, names, colours
    raise InputError(
        f'{folder} holds images and label maps, and no classes.txt: put one there, with a name a '
        'line in the order of the values (from 0 on), or "name red green blue" for colour maps'
    )


_NUMBER = r'(\d{1,3})'
_GAP = r'\s*[\s,;:]\s*'
_COLOUR = _GAP.join([_NUMBER] * 3)


def _rows(text: str, where: Path) -> list[tuple[str, tuple[int, int, int] | None]]:
    """A name and its colour a line: ``name r g b`` or ``r g b name``, with spaces or commas."""
    rows = []
    for line in text.splitlines():
        line = line.strip()
        if not line or re.fullmatch(r'name\W+r\w*\W+g\w*\W+b\w*', line.lower()):
            continue
        behind = re.fullmatch(rf'(.+?){_GAP}{_COLOUR}', line)
        before = re.fullmatch(rf'{_COLOUR}{_GAP}(.+)', line)
        if behind:
            name, numbers = behind[1], behind.groups()[1:]
        elif before:
            name, numbers = before[4], before.groups()[:3]
        else:
            rows.append((line.strip('"'), None))
            continue
        colour = tuple(map(int, numbers))
        if max(colour) > 255:
            raise InputError(f'{where}: {shown(line)}: a colour has numbers of 0 to 255')
        rows.append((name.strip('"'), colour))
    return rows


@dataclass
class Seen:
    """What is in a map.

    Attributes:
        values: That it has; None where it has colours.
        as_it_is: Whether mmseg reads these values: one channel of 8 bits.
    """

    path: Path
    values: set[int] | None
    as_it_is: bool


def read_map(path: Path) -> np.ndarray:
    """A map as it is in the file: ``(H, W)`` values, or ``(H, W, 3)`` colours, uint8.

    Raises:
        InputError: It cannot be read, or is of a format that changes values.
    """
    if path.suffix.lower() in _LOSSY:
        raise InputError(
            f'{path}: a label map as {path.suffix} has lost its values: save it as PNG'
        )
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.mode in ('RGBA', 'LA', 'PA', 'CMYK', 'YCbCr'):
                image = image.convert('RGB')
            return np.asarray(image)
    except Exception as error:  # Pillow's readers raise anything on a damaged file
        words = ' '.join(str(error).split())
        raise InputError(f'{path} cannot be read as a label map: {shown(words)}') from error


def look(path: Path) -> Seen:
    """Which values a map has."""
    found = read_map(path)
    grey = found
    if found.ndim == 3:
        grey = found[..., 0]
        if (found != grey[..., None]).any():
            return Seen(path, None, False)
    values = set(np.unique(grey).tolist())
    return Seen(path, {int(value) for value in values}, found.ndim == 2 and found.dtype == np.uint8)


def _meaning(
    seen: list[Seen],
    classes: tuple[str, ...],
    colours: list[tuple[int, int, int]] | None,
    source: Path,
    notes: Notes,
) -> tuple[tuple[str, ...], Meaning]:
    coloured = [each for each in seen if each.values is None]
    if coloured and colours is None:
        raise InputError(
            f'{coloured[0].path} has colours, and {source} names none: write "name red green blue" '
            'a line'
        )
    used = {value for each in seen for value in each.values or ()}
    by_colour = {sum(colour) // 3 for colour in colours or () if len(set(colour)) == 1}
    if coloured or (colours and not used <= {*range(len(classes) + 1), IGNORED}):
        if not coloured and not used <= by_colour:
            raise InputError(_unfit(seen, used, classes, source))
        notes.say(f'label maps in the colours of {source} are converted')
        return classes, Meaning('colours', colours=colours)
    classes, meaning = _of_values(seen, used, classes, source, notes)
    return classes, Meaning(meaning.kind, meaning.reduce_zero_label, meaning.values, colours)


def _of_values(
    seen: list[Seen], used: set[int], classes: tuple[str, ...], source: Path, notes: Notes
) -> tuple[tuple[str, ...], Meaning]:
    count = len(classes)
    numbers = used - {IGNORED}
    if count == 1 and used <= {0, 1, IGNORED}:
        notes.say(f'{source} names one class: 0 is taken for the background, the first class')
        classes, count = ('background', *classes), 2
        if classes[0] == classes[1]:
            raise InputError(f'{source} names the background alone: name a class too')
    if used == {0, IGNORED} and count == 2:
        notes.say(f'the label maps have 0 and 255: taken for {classes[0]} and {classes[1]}')
        return classes, Meaning('values', values={0: 0, IGNORED: 1})
    if not numbers or max(numbers) > count:
        raise InputError(_unfit(seen, used, classes, source))
    reduce = max(numbers) == count
    if reduce:
        notes.say(f'0 in the label maps is unlabelled, 1 is {classes[0]} (reduce_zero_label)')
    elif 0 not in numbers:
        notes.say(
            f'no label map looked at has 0 or {count}: 0 is taken for {classes[0]}, 1 for '
            f'{classes[1]}; should 1 be {classes[0]}, name the class 0 in {source} first'
        )
    missing = [name for n, name in enumerate(classes) if n + reduce not in numbers]
    notes.count(missing, 'class is', 'classes are', 'in no label map looked at')
    kind = 'index' if all(each.as_it_is for each in seen) else 'values'
    return classes, Meaning(kind, reduce, {n + reduce: n for n in range(count)})


def _unfit(seen: list[Seen], used: set[int], classes: tuple[str, ...], source: Path) -> str:
    known = {*range(len(classes) + 1), IGNORED}
    example = next(
        (each.path for each in seen if not (each.values or set()) <= known), seen[0].path
    )
    return (
        f'the label maps have the values {shown(", ".join(map(str, sorted(used))))} '
        f'({example}), and {source} names {len(classes)} classes: expected 0 to '
        f'{len(classes) - 1}, or 1 to {len(classes)} with 0 unlabelled; 255 is ignored'
    )


def converted(path: Path, meaning: Meaning) -> np.ndarray:
    """A map's classes, ``(H, W)`` uint8, with 255 where it has none.

    Raises:
        InputError: It has a value or colour that means nothing; naming both.
    """
    found = read_map(path)
    if meaning.kind == 'colours':
        return _of_colours(path, found, meaning.colours)
    values = found[..., 0] if found.ndim == 3 else found
    labels = np.full(values.shape, IGNORED, np.uint8)
    known = np.isin(values, [*meaning.values, 0, IGNORED])
    if not known.all():
        raise InputError(f'{path} has the value {int(values[~known][0])}, which is no class')
    for value, label in meaning.values.items():
        labels[values == value] = label
    return labels


def _of_colours(path: Path, found: np.ndarray, colours: list) -> np.ndarray:
    if found.ndim == 2:
        with Image.open(path, formats=FORMATS) as image:
            found = np.asarray(image.convert('RGB'))
    packed = found.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1])
    labels = np.full(packed.shape, IGNORED, np.uint8)
    known = packed == 0  # black is unlabelled unless a class has it
    for label, (red, green, blue) in enumerate(colours):
        of_class = packed == (red << 16) + (green << 8) + blue
        labels[of_class] = label
        known |= of_class
    if not known.all():
        colour = ' '.join(map(str, found[~known][0].tolist()))
        raise InputError(
            f'{path} has the colour {colour} in {(~known).mean():.1%} of its pixels, which is no '
            "class's; black alone may be"
        )
    return labels
