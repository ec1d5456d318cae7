"""What a folder of images and labels holds: found by its files, and said."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError
from ..checking.problems import shown
from .coco_files import coco_files, read_coco_files
from .detection import Detection, Split, label_files, read_label_files, trains_masks
from .files import File, Pairs, walk
from .instance_maps import read_instance_maps
from .label_maps import MapSplit, Meaning, find_label_maps, read_label_maps
from .notes import Notes
from .splitting import SEED, VAL_SHARE, divide

TASKS = ('detection', 'segmentation')


@dataclass(frozen=True)
class OwnData:
    """A folder of images and labels.

    Attributes:
        folder: Absolute.
        format: ``'COCO'``, ``'YOLO'``, ``'Pascal VOC'``, ``'LabelMe'``, ``'label maps'`` or
            ``'instance maps'``.
        task: ``'detection'`` or ``'segmentation'``.
        classes: Names, in the order of the labels.
        has_masks: Whether every object of a detection set has a mask.
        splits: ``'train'``, ``'val'`` and, where the folder has one, ``'test'``; each a
            :class:`Split` (boxes and masks as in COCO's format) or a :class:`MapSplit` (pairs of
            images and label maps).
        split_made: Whether train and val were divided here.
        notes: What was found and might surprise, in sentences.
        meaning: Of label maps, how a pixel says its class.
    """

    folder: Path
    format: str
    task: str
    classes: tuple[str, ...]
    has_masks: bool
    splits: dict[str, 'Split | MapSplit']
    split_made: bool
    notes: tuple[str, ...]
    meaning: Meaning | None = None


def own_data(folder: str | Path, task: str | None = None) -> OwnData:
    """Find out what a folder holds. Nothing is written, and of images only the headers are read.

    Args:
        folder: With annotations in COCO's format, YOLO's labels and their ``data.yaml``, Pascal
            VOC's or LabelMe's files, or images and label maps with a list of classes.
        task: ``'detection'`` or ``'segmentation'``, where the folder might serve both; None takes
            detection first.

    Raises:
        InputError: It holds nothing of the kind, or something that cannot be read; naming the file.
    """
    folder = Path(folder).expanduser().absolute()
    files = walk(folder)
    detection = None if task == 'segmentation' else _find_detection(folder, files)
    if detection is not None:
        return _of_detection(folder, detection)
    maps = find_label_maps(files)
    if maps is not None and task != 'detection':
        return _of_label_maps(folder, files, maps)
    if maps is not None:
        return _of_detection(folder, read_instance_maps(folder, files, maps))
    raise InputError(_nothing_found(folder, files, task))


def _find_detection(folder: Path, files: list[File]) -> Detection | None:
    """The format that labels most images, read; the others are said."""
    pairs = label_files(folder, files)
    of_labelme = [label.path for _, label in pairs.get('LabelMe', Pairs([], [], [])).pairs if label]
    contents = coco_files(folder, files, of_labelme)
    counts = {name: each.count for name, each in pairs.items()}
    if contents:
        counts['COCO'] = sum(len(content['images']) for content in contents.values())
    if not counts:
        return None
    chosen = max(counts, key=lambda name: (counts[name], name == 'COCO'))
    if chosen == 'COCO':
        found = read_coco_files(folder, files, contents)
    else:
        found = read_label_files(chosen, folder, files, pairs[chosen])
    for name, count in counts.items():
        if name != chosen:
            found.notes.say(f'{name} labels of {count:,} images are there too, and not read')
    return found


def _of_detection(folder: Path, found: Detection) -> OwnData:
    splits, made = _complete(folder, found.splits, _divide_detection, found.notes)
    for name, split in list(splits.items()):
        if not split.annotations:
            if name != 'test':
                raise InputError(f'{folder}: no image of the {name} split shows an object')
            del splits[name]
            found.notes.say('the test split has no labels, and is not used')
    masks, boxes = trains_masks(splits.values())
    if masks and boxes:
        found.notes.say(
            f'{boxes:,} of {masks + boxes:,} objects have a box and no mask: boxes alone are used'
        )
    _say_overlap({name: _paths(split) for name, split in splits.items()}, found.notes)
    counts = {name: count_objects(split, len(found.classes)) for name, split in splits.items()}
    _say_missing(found.classes, counts, 'object', found.notes)
    return OwnData(
        folder,
        found.format,
        'detection',
        found.classes,
        masks > 0 and boxes == 0,
        splits,
        made,
        tuple(found.notes),
    )


def _paths(split: Split) -> list[Path]:
    return [split.folder / image['file_name'] for image in split.images]


def count_objects(split: Split, classes: int) -> list[int]:
    """How many objects of each class a split has."""
    counts = Counter(annotation['category_id'] - 1 for annotation in split.annotations)
    return [counts[label] for label in range(classes)]


def _of_label_maps(folder: Path, files: list[File], maps: Pairs) -> OwnData:
    found = read_label_maps(folder, files, maps)
    splits, made = _complete(folder, found.splits, _divide_maps, found.notes)
    _say_overlap({k: [i for i, _ in v.pairs] for k, v in splits.items()}, found.notes)
    return OwnData(
        folder,
        'label maps',
        'segmentation',
        found.classes,
        True,
        splits,
        made,
        tuple(found.notes),
        found.meaning,
    )


def _complete(folder: Path, splits: dict, divide_split, notes: Notes) -> tuple[dict, bool]:
    """The splits train and val, and test if there is one; divided where val or all are missing."""
    splits = dict(splits)
    rest = splits.pop(None, None)
    if rest is not None and 'train' not in splits:
        splits['train'] = rest
    elif rest is not None:
        notes.say(f'{len(rest)} images are in no split, and left out')
    if 'train' not in splits:
        raise InputError(
            f'{folder} has a {" and a ".join(sorted(splits))} split, and none to train on'
        )
    made = 'val' not in splits
    if made:
        splits['train'], splits['val'] = divide_split(splits['train'])
        notes.say(
            f'no val split: {len(splits["val"])} of '
            f'{len(splits["train"]) + len(splits["val"])} images are held out '
            f'({VAL_SHARE:.0%}, seed {SEED})'
        )
    return {name: splits[name] for name in ('train', 'val', 'test') if name in splits}, made


def _divide_detection(split: Split) -> tuple[Split, Split]:
    labels = {image['id']: set() for image in split.images}
    for annotation in split.annotations:
        labels[annotation['image_id']].add(annotation['category_id'])
    parts = []
    for images in divide(split.images, list(map(frozenset, labels.values()))):
        ids = {image['id'] for image in images}
        kept = [each for each in split.annotations if each['image_id'] in ids]
        parts.append(Split(split.folder, images, kept))
    return tuple(parts)


def _divide_maps(split: MapSplit) -> tuple[MapSplit, MapSplit]:
    unknown = [frozenset()] * len(split)  # telling the classes would take reading every map
    return tuple(MapSplit(pairs) for pairs in divide(split.pairs, unknown))


def _say_overlap(names: dict[str, list], notes: Notes) -> None:
    train = set(names['train'])
    for split in ('val', 'test'):
        notes.count(
            [name for name in names.get(split, ()) if name in train],
            'image is',
            'images are',
            f'in train and in {split} too',
        )


def _say_missing(
    classes: tuple[str, ...], counts: dict[str, list[int]], what: str, notes: Notes
) -> None:
    for split, of_split in counts.items():
        missing = [name for name, count in zip(classes, of_split) if not count]
        if missing:
            names = ', '.join(map(shown, missing[:6])) + (', ...' if len(missing) > 6 else '')
            notes.say(f'no {what} in {split} of {len(missing)} of the classes: {names}')


def _nothing_found(folder: Path, files: list[File], task: str | None) -> str:
    counts = Counter(file.suffix or 'no suffix' for file in files)
    held = ', '.join(f'{count:,} {suffix}' for suffix, count in counts.most_common(5))
    expected = {
        'detection': "annotations in COCO's format, YOLO's, Pascal VOC's or LabelMe's",
        'segmentation': 'images and label maps of the same names in two folders (images, masks), '
        'and classes.txt',
    }
    words = ', or '.join(expected[each] for each in ([task] if task else TASKS))
    return f'{folder} holds no labels that can be read ({held}): expected {words}'
