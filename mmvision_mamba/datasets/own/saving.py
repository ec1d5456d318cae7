"""What training needs of own data, written below a work dir: annotation files, lists, label maps.

Images stay where they are. The folder of the data is not written to.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from ...errors import InputError
from .data import OwnData
from .detection import Split
from .label_maps import MapSplit, converted
from .notes import Notes

FOLDER = 'data'
_SUMMARY = 'own_data.json'


@dataclass(frozen=True)
class SavedSplit:
    """Where a split lies, as mmdet's and mmseg's data sets are told of it; all paths absolute.

    Attributes:
        images: How many.
        ann_file: An annotation file in COCO's format, or a list of names.
        image_folder: That the names are relative to.
        map_folder: The same of label maps; None in detection.
        image_suffix, map_suffix: What a name in the list lacks.
    """

    images: int
    ann_file: str
    image_folder: str
    map_folder: str | None = None
    image_suffix: str = ''
    map_suffix: str = ''


@dataclass(frozen=True)
class SavedData:
    """Own data as it can be trained on.

    Attributes:
        folder, format, task, classes, has_masks, notes: Of :class:`OwnData`.
        splits: By name.
        reduce_zero_label: Of label maps.
        palette: A colour of each class, where the data gives them.
    """

    folder: str
    format: str
    task: str
    classes: list[str]
    has_masks: bool
    notes: list[str]
    splits: dict[str, SavedSplit]
    reduce_zero_label: bool = False
    palette: list[list[int]] | None = None


def save(data: OwnData, work_dir: str | Path) -> SavedData:
    """Write what cannot be read as it lies: everything but COCO's own sound files.

    Args:
        work_dir: In its folder ``data`` go ``{train,val,test}.json`` or ``.txt``, and ``maps``.

    Raises:
        InputError: A label map has a value or colour that means nothing.
    """
    target = Path(work_dir).absolute() / FOLDER
    target.mkdir(parents=True, exist_ok=True)
    notes = Notes(data.notes)
    if data.task == 'detection':
        splits = {name: _save_split(data, name, target) for name in data.splits}
        saved = _saved(data, splits, notes)
    else:
        saved = _save_maps(data, target, notes)
    text = json.dumps(asdict(saved), ensure_ascii=False, indent=1) + '\n'
    (target / _SUMMARY).write_text(text, encoding='utf-8')
    return saved


def saved_before(work_dir: str | Path) -> SavedData | None:
    """What :func:`save` wrote into a work dir; None where it did not.

    Raises:
        InputError: Something else stands there.
    """
    path = Path(work_dir).absolute() / FOLDER / _SUMMARY
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        splits = {name: SavedSplit(**split) for name, split in content.pop('splits').items()}
        return SavedData(splits=splits, **content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f'{path} is not what was written there: remove it') from error


def _saved(
    data: OwnData,
    splits: dict[str, SavedSplit],
    notes: Notes,
    reduce_zero_label: bool = False,
    palette: list | None = None,
) -> SavedData:
    return SavedData(
        str(data.folder),
        data.format,
        data.task,
        list(data.classes),
        data.has_masks,
        list(notes),
        splits,
        reduce_zero_label,
        palette,
    )


def _save_split(data: OwnData, name: str, target: Path) -> SavedSplit:
    split: Split = data.splits[name]
    path = split.file
    if path is None:
        path = target / f'{name}.json'
        path.write_text(json.dumps(coco_content(data, split)))  # ASCII: pycocotools asks the locale
    return SavedSplit(len(split.images), str(path), str(split.folder))


def coco_content(data: OwnData, split: Split) -> dict:
    """A split in COCO's format; without masks where not every object has one."""
    annotations = split.annotations
    if not data.has_masks:
        annotations = [
            {key: value for key, value in each.items() if key != 'segmentation'}
            for each in annotations
        ]
    categories = [dict(id=number, name=name) for number, name in enumerate(data.classes, 1)]
    info = dict(description=f'{data.format} labels of {data.folder}')
    return dict(info=info, images=split.images, annotations=annotations, categories=categories)


def _save_maps(data: OwnData, target: Path, notes: Notes) -> SavedData:
    meaning = data.meaning
    places = {name: _place(split) for name, split in data.splits.items()}
    in_place = meaning.kind == 'index' and all(places.values())
    splits = {}
    for name, split in data.splits.items():
        place = places[name] if in_place else None
        splits[name] = (
            _list_maps(data, name, split, place, target)
            if place
            else _convert_maps(data, name, split, target)
        )
    if not in_place:
        notes.say(f'label maps as they are trained on are in {target / "maps"}')
    palette = [list(colour) for colour in meaning.colours] if meaning.colours else None
    if palette and len(palette) < len(data.classes):
        palette = None  # the background was added
    return _saved(data, splits, notes, in_place and meaning.reduce_zero_label, palette)


def _place(split: MapSplit) -> tuple[Path, str, Path, str] | None:
    """Folders and suffixes of images and of maps, where a split's are all the same."""
    places = {
        (
            image.parent,
            image.suffix,
            label.parent,
            label.name[len(image.stem) :] if label.name.startswith(image.stem) else None,
        )
        for image, label in split.pairs
    }
    place = places.pop()
    return None if places or place[-1] is None else place


def _list_maps(data: OwnData, name: str, split: MapSplit, place: tuple, target: Path) -> SavedSplit:
    image_folder, image_suffix, map_folder, map_suffix = place
    path = target / f'{name}.txt'
    _write_list(path, [image.name.removesuffix(image_suffix) for image, _ in split.pairs])
    return SavedSplit(
        len(split),
        str(path),
        str(data.folder / image_folder),
        str(data.folder / map_folder),
        image_suffix,
        map_suffix,
    )


def _convert_maps(data: OwnData, name: str, split: MapSplit, target: Path) -> SavedSplit:
    path, maps = target / f'{name}.txt', target / 'maps'
    for image, label in split.pairs:
        labels = converted(data.folder / label, data.meaning)
        to = maps / f'{image.as_posix()}.png'
        to.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(labels).save(to)
    _write_list(path, [image.as_posix() for image, _ in split.pairs])
    return SavedSplit(len(split), str(path), str(data.folder), str(maps), '', '.png')


def _write_list(path: Path, names: list[str]) -> None:
    path.write_text(''.join(f'{name}\n' for name in names), encoding='utf-8')
