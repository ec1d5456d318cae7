"""Annotation files in COCO's format, wherever they lie, with the folders of their images."""

import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

from ...errors import InputError
from ..checking.problems import shown
from .class_names import clean_all
from .detection import Detection, Split, polygon_area
from .files import SPLIT_OF_WORD, File, is_image
from .image_sizes import image_size
from .labels import read_json
from .notes import Notes

_MOST_FILES = 50
# Of COCO itself, beside the instances: of the same images, without or with other objects.
_OTHER_TASKS = re.compile(r'(captions|person_keypoints|panoptic|stuff|image_info)_')


def coco_files(folder: Path, files: list[File], of_labelme: Iterable[Path]) -> dict[Path, dict]:
    """The contents of a folder's annotation files in COCO's format, by path relative to it.

    Args:
        of_labelme: JSON files that are known to be another tool's.

    Raises:
        InputError: There are too many JSON files to look at.
    """
    others = set(of_labelme)
    names = [file.path for file in files if file.suffix == '.json' and file.path not in others]
    instances = [path for path in names if path.name.startswith('instances_')]
    if instances:
        names = [path for path in names if not _OTHER_TASKS.match(path.name)]
    if len(names) > _MOST_FILES:
        raise InputError(
            f'{folder} holds {len(names):,} JSON files that are named as no image is: expected '
            "annotation files in COCO's format, at most one a split, or LabelMe's, named as the "
            'images are'
        )
    contents = {path: read_json(folder, path) for path in names}
    return {path: content for path, content in contents.items() if _is_coco(content)}


def _is_coco(content: object) -> bool:
    return isinstance(content, dict) and all(
        isinstance(content.get(key), list) for key in ('images', 'annotations', 'categories')
    )


def read_coco_files(folder: Path, files: list[File], contents: dict[Path, dict]) -> Detection:
    """Read annotation files of :func:`coco_files`.

    What mmdet would fail on and can be mended is: an area or an id that lacks, categories in
    another order than in another split's file. A split is then of no file.

    Raises:
        InputError: Naming what cannot be read or mended.
    """
    notes = Notes()
    parts = _by_split(folder, contents, notes)
    orders = [_categories(content, folder / path) for path, content in parts.values()]
    named = [tuple(order.values()) for order in orders]
    classes = tuple(dict.fromkeys(name for names in named for name in names))
    used = [_used_categories(content) for _, content in parts.values()]
    classes = _without_supercategory(classes, parts, orders, used, notes)
    if not classes:
        raise InputError(f'{folder}: no annotation is of a category that its file names')
    splits = {}
    for (split, (path, content)), order, names in zip(parts.items(), orders, named):
        if names != named[0]:
            notes.say(f'{path} has other categories than the first file, or in another order')
        images = _image_folder(folder, files, path, content)
        mended = _Mended(folder, path, content, images, notes)
        part = mended.split({key: classes.index(n) for key, n in order.items() if n in classes})
        if not mended.changed and names == classes:
            part.file = folder / path
        splits[split] = part
    return Detection('COCO', classes, splits, notes)


def _by_split(
    folder: Path, contents: dict[Path, dict], notes: Notes
) -> dict[str | None, tuple[Path, dict]]:
    found = {}
    for path, content in contents.items():
        words = [w for part in reversed(path.parts) for w in re.findall('[a-z]+', part.lower())]
        split = next((SPLIT_OF_WORD[word] for word in words if word in SPLIT_OF_WORD), None)
        if split in found:
            raise InputError(
                f"{folder} holds two annotation files in COCO's format of one split, "
                f'{found[split][0]} and {path}: put one of them elsewhere, or name them '
                'train.json and val.json'
            )
        found[split] = path, content
    if len(found) > 1 and None in found:
        path, _ = found.pop(None)
        notes.say(f'{path} is of no split by its name, and not read')
    return found


def _categories(content: dict, where: Path) -> dict[int | str, str]:
    """Names by id, in the order of the file."""
    categories = content['categories']
    for category in categories:
        if not isinstance(category, dict) or type(category.get('id')) not in (int, str):
            raise InputError(f'{where}: {shown(category)} is no category with an id and a name')
    ids = [category['id'] for category in categories]
    if len(set(ids)) < len(ids):
        raise InputError(f'{where}: two categories have the same id')
    names = clean_all((category.get('name') for category in categories), f'{where}: categories')
    return dict(zip(ids, names))


def _used_categories(content: dict) -> set:
    ids = (a.get('category_id') for a in content['annotations'] if isinstance(a, dict))
    return {each for each in ids if type(each) in (int, str)}


def _without_supercategory(
    classes: tuple[str, ...], parts: dict, orders: list[dict], used: list[set], notes: Notes
) -> tuple[str, ...]:
    """Without the name of the whole set, which Roboflow puts first, and no object is of."""
    objects = {order[each] for order, ids in zip(orders, used) for each in ids if each in order}
    above = {
        category.get('supercategory')
        for _, content in parts.values()
        for category in content['categories']
    }
    dropped = [name for name in classes if name in above and name not in objects]
    if dropped and objects:
        notes.say(f'the category {shown(dropped[0])} stands above the others and is no class')
        return tuple(name for name in classes if name not in dropped)
    return classes


def _image_folder(folder: Path, files: list[File], path: Path, content: dict) -> Path:
    """The folder that the names of an annotation file's images are relative to."""
    names = [i['file_name'] for i in content['images'] if isinstance(i, dict) and _name(i)]
    for name in names:
        _refuse_outside(name, folder / path)
    there = {file.path.as_posix() for file in files if file.suffix and not _is_json(file)}
    folders = {Path(), path.parent}
    folders.update(parent for file in files if is_image(file) for parent in file.path.parents)
    sample = names[:: max(len(names) // 200, 1)]

    def found(images: Path) -> int:
        return sum((images / name).as_posix() in there for name in sample)

    # Of two that hold as many, the one named for the split: val2017 and train2017 may share names.
    split = _words(path)
    best = max(sorted(folders), key=lambda images: (found(images), len(split & _words(images))))
    if not sample or not found(best):
        raise InputError(
            f'{folder / path} names {shown(names[0]) if names else "no image"}, which is in no '
            'folder beside it: put the images under the data folder'
        )
    return best


def _is_json(file: File) -> bool:
    return file.suffix == '.json'


def _words(path: Path) -> set[str]:
    found = {word for part in path.parts for word in re.findall('[a-z]+', part.lower())}
    return {SPLIT_OF_WORD[word] for word in found if word in SPLIT_OF_WORD}


def _name(image: dict) -> bool:
    return isinstance(image.get('file_name'), str) and bool(image['file_name'])


def _refuse_outside(name: str, where: Path) -> None:
    parts = {*PurePosixPath(name).parts, *PureWindowsPath(name).parts}
    if '..' in parts or PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive:
        raise InputError(
            f'{where} names the image {shown(name)}: names may not lead out of the data folder'
        )


class _Mended:
    """The images and objects of an annotation file that can be trained on."""

    def __init__(self, folder: Path, path: Path, content: dict, images: Path, notes: Notes) -> None:
        self.where, self.content, self.notes = path, content, notes
        self.folder = folder / images
        self.changed = False

    def split(self, labels: dict[int | str, int]) -> Split:
        """Args: labels: Numbers of classes by the file's ids of categories."""
        images = self._kept(self.content['images'], self._image, 'image', 'images')
        ids = [image['id'] for image in images]
        if len(set(ids)) < len(ids):
            raise InputError(f'{self.folder / self.where}: two images have the same id')
        sizes = {image['id']: (image['width'], image['height']) for image in images}
        unknown = {image.get('id') for image in self.content['images'] if isinstance(image, dict)}
        unknown -= sizes.keys()  # left out above, and so are their objects, unmentioned
        given = [
            each
            for each in self.content['annotations']
            if not (isinstance(each, dict) and _hashable(each.get('image_id')) in unknown)
        ]
        self.changed = self.changed or len(given) < len(self.content['annotations'])
        annotations = self._kept(
            given, lambda each: self._annotation(each, sizes, labels), 'annotation', 'annotations'
        )
        ids = {each['id'] for each in annotations}
        if None in ids or len(ids) < len(annotations):
            self.changed = True
            annotations = [dict(each, id=n) for n, each in enumerate(annotations, 1)]
        return Split(self.folder, images, annotations)

    def _kept(
        self, entries: list, mend: Callable[[object], dict | str], one: str, several: str
    ) -> list[dict]:
        """Entries that are sound or were mended; the others are counted by what ails them."""
        kept, left_out = [], {}
        for entry in entries:
            mended = mend(entry)
            if isinstance(mended, str):
                left_out.setdefault(mended, []).append(_shown_entry(entry))
            else:
                kept.append(mended)
        for reason, names in left_out.items():
            self.changed = True
            self.notes.count(names, one, several, f'of {self.where} left out: {reason}')
        return kept

    def _image(self, image: object) -> dict | str:
        if not isinstance(image, dict) or type(image.get('id')) not in (int, str):
            return 'no id'
        if not _name(image):
            return 'no file_name'
        file = self.folder / image['file_name']
        if not file.is_file():
            return 'no such file'
        size = image.get('width'), image.get('height')
        if not all(type(side) is int and 0 < side <= 10**6 for side in size):
            self.changed = True
            size = image_size(file)
            if size is None:
                return 'cannot be read'
        kept = {key: image[key] for key in ('id', 'file_name')}
        return dict(kept, width=size[0], height=size[1])

    def _annotation(self, given: object, sizes: dict, labels: dict) -> dict | str:
        if not isinstance(given, dict):
            return 'no object with keys'
        size, label = (
            sizes.get(_hashable(given.get('image_id'))),
            labels.get(_hashable(given.get('category_id'))),
        )
        if size is None:
            return 'image_id of no image'
        if label is None:
            return 'category_id of no class'
        box = given.get('bbox')
        if not _are_numbers(box) or len(box) != 4:
            return 'bbox is not four numbers'
        if box[2] <= 0 or box[3] <= 0:
            return 'a box of no area'
        left, top = max(box[0], 0), max(box[1], 0)
        if min(size[0], box[0] + box[2]) <= left or min(size[1], box[1] + box[3]) <= top:
            return 'a box outside the image'
        segmentation = _segmentation(given.get('segmentation'))
        mended = dict(
            id=given.get('id'),
            image_id=given['image_id'],
            category_id=label + 1,
            bbox=box,
            area=given.get('area'),
            iscrowd=int(given.get('iscrowd') in (1, True)),
        )
        if segmentation:
            mended['segmentation'] = segmentation
        if type(mended['id']) not in (int, str):
            mended['id'] = None  # all are numbered anew then
        if not _are_numbers([mended['area']]) or mended['area'] <= 0:
            outline = isinstance(segmentation, list) and sum(map(polygon_area, segmentation))
            mended['area'] = outline or box[2] * box[3]
        self.changed |= any(
            mended.get(key) != given.get(key, 0 if key == 'iscrowd' else None)
            for key in ('id', 'area', 'iscrowd')
        )
        self.changed |= (segmentation or None) != (given.get('segmentation') or None)
        return mended


def _segmentation(given: object) -> list | dict | None:
    """Polygons of three points and more, or run lengths; None for what is neither."""
    if isinstance(given, dict):
        counts, size = given.get('counts'), given.get('size')
        lengths = isinstance(counts, str) or _are_numbers(counts)
        return dict(counts=counts, size=size) if lengths and _are_numbers(size) else None
    if isinstance(given, list) and given and _are_numbers(given):
        given = [given]  # a single polygon without the list around it
    if not isinstance(given, list):
        return None
    polygons = [p for p in given if _are_numbers(p) and len(p) >= 6 and len(p) % 2 == 0]
    return polygons or None


def _are_numbers(values: object) -> bool:
    return isinstance(values, list) and all(
        type(value) in (int, float) and math.isfinite(value) and abs(value) < 1e12
        for value in values
    )


def _hashable(value: object) -> object:
    return value if type(value) in (int, str) else None


def _shown_entry(entry: object) -> str:
    if isinstance(entry, dict):
        return shown(entry.get('file_name', f'id {shown(entry.get("id"))}'))
    return shown(entry)
