"""A small data set drawn on first use, for the demo and the tests: shapes on textured ground.

One set of images serves detection, instance and semantic segmentation. It lies on disk as COCO
2017 and ADE20K do, so OpenMMLab's own dataset classes read it.
"""

import colorsys
import json
import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS
from PIL import Image

THING_CLASSES = ('circle', 'triangle', 'square', 'star', 'cross')
STUFF_CLASSES = ('gradient', 'stripes', 'checker')
# The first of inference.drawing.colors.palette_for, which a detector's classes are drawn in.
_THING_PALETTE = [(230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178)]
_STUFF_PALETTE = [(213, 94, 0), (204, 121, 167), (0, 0, 255)]
COCO_METAINFO = dict(classes=THING_CLASSES, palette=_THING_PALETTE)
ADE_METAINFO = dict(classes=THING_CLASSES + STUFF_CLASSES, palette=_THING_PALETTE + _STUFF_PALETTE)
_METAINFO = {'coco': COCO_METAINFO, 'ADEChallengeData2016': ADE_METAINFO}

_CATEGORY_IDS = (1, 2, 4, 7, 9)  # with gaps, as COCO's
_SPLITS = {'train': 'training', 'val': 'validation'}  # COCO's names and ADE20K's
_MIN_VISIBLE = 0.65  # of an object's area; what would show less is not placed
_MIN_PIXELS = 40


class _Thing(NamedTuple):
    label: int
    outlines: list[np.ndarray]  # each (N, 2) xy in pixels, around the origin; a crowd has several
    area: float  # in pixels, were nothing hidden

    @property
    def is_crowd(self) -> bool:
        return len(self.outlines) > 1


@DATASETS.register_module(name='DrawnShapes')
def drawn_shapes(dataset_type: str, data_root: str, **kwargs) -> BaseDataset:
    """Build a dataset of drawn shapes, drawing it first if it is not there.

    Args:
        dataset_type: the class that reads it: ``CocoDataset`` in mmdet; ``BaseSegDataset`` in
            mmseg, with ``reduce_zero_label=True`` (its ``ADE20KDataset`` is the same but refuses
            class names other than ADE20K's).
        data_root: ``<root>/coco`` or ``<root>/ADEChallengeData2016``.
        kwargs: go to that class; ``metainfo`` is the set's own unless given.

    Raises:
        ValueError: if ``data_root`` is neither.
    """
    metainfo = drawn_metainfo(data_root)
    draw_shapes(Path(data_root).parent)
    return DATASETS.build(dict(type=dataset_type, data_root=data_root, metainfo=metainfo) | kwargs)


def drawn_metainfo(data_root: str) -> dict:
    """Classes and palette of the drawn data set under ``data_root``.

    Raises:
        ValueError: if that ends in neither ``coco`` nor ``ADEChallengeData2016``.
    """
    folder = Path(data_root).name
    if folder not in _METAINFO:
        raise ValueError(f"data_root '{data_root}' must end in one of {', '.join(_METAINFO)}")
    return _METAINFO[folder]


def draw_shapes(root: str | Path, num_train: int = 480, num_val: int = 60, size: int = 160) -> Path:
    """Draw the data set under ``root`` and return ``root``; one that is there, of any size, stays.

    The same arguments give the same bytes. ``root`` appears whole or not at all, also where
    several processes draw it at once.

    Args:
        root: the folder to make. In it are ``coco/annotations/instances_{train,val}2017.json``,
            ``coco/{train,val}2017/*.jpg`` and
            ``ADEChallengeData2016/{images,annotations}/{training,validation}/*.{jpg,png}``.
            In the seg maps (8 bit) 0 is unlabelled and k + 1 is class k of ``ADE_METAINFO``.
        num_train: images to train on.
        num_val: images held out.
        size: longer side of an image, in pixels.

    Raises:
        FileExistsError: if ``root`` holds something else.
    """
    root = Path(root)
    if _is_drawn(root):
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f'.{root.name}-', dir=root.parent) as temporary:
        drawn = Path(temporary, root.name)
        for split, count in (('train', num_train), ('val', num_val)):
            _draw_split(drawn, split, count, size)
        try:
            os.rename(drawn, root)
        except OSError as error:
            if not _is_drawn(root):  # else another process was first, with the same images
                raise FileExistsError(f'{root} is in the way of the drawn data set') from error
    return root


def _is_drawn(root: Path) -> bool:
    return all((root / folder).is_dir() for folder in _METAINFO)


def _draw_split(root: Path, split: str, count: int, size: int) -> None:
    coco_images = root / 'coco' / f'{split}2017'
    coco_annotations = root / 'coco' / 'annotations'
    ade_images = root / 'ADEChallengeData2016' / 'images' / _SPLITS[split]
    ade_annotations = root / 'ADEChallengeData2016' / 'annotations' / _SPLITS[split]
    for folder in (coco_images, coco_annotations, ade_images, ade_annotations):
        folder.mkdir(parents=True, exist_ok=True)

    images, annotations = [], []
    for image_id in range(1, count + 1):
        rng = np.random.default_rng((list(_SPLITS).index(split), image_id))
        image, seg_map, found = _draw_image(rng, size)
        jpg = coco_images / f'{image_id:012d}.jpg'
        Image.fromarray(image).save(jpg, quality=90)
        shutil.copy(jpg, ade_images / f'ADE_{split}_{image_id:08d}.jpg')
        Image.fromarray(seg_map).save(ade_annotations / f'ADE_{split}_{image_id:08d}.png')

        height, width = seg_map.shape
        images.append(dict(id=image_id, file_name=jpg.name, width=width, height=height))
        for annotation in found:
            annotations.append(dict(id=len(annotations) + 1, image_id=image_id, **annotation))

    categories = [
        dict(id=category_id, name=name, supercategory='shape')
        for category_id, name in zip(_CATEGORY_IDS, THING_CLASSES, strict=True)
    ]
    info = dict(description='drawn shapes')
    instances = dict(info=info, images=images, annotations=annotations, categories=categories)
    (coco_annotations / f'instances_{split}2017.json').write_text(json.dumps(instances))


def _draw_image(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray, list[dict]]:
    """An image (H, W, 3) uint8 RGB, its seg map (H, W) uint8 and its COCO annotations."""
    short = round(size * rng.choice([5 / 8, 3 / 4, 7 / 8]))
    height, width = (short, size) if rng.random() < 0.6 else (size, short)
    image, seg_map = _background(rng, height, width)

    wanted, has_crowd, hue = rng.integers(3, 8), rng.random() < 0.1, rng.random()
    things: list[_Thing] = []
    top = np.full((height, width), -1)  # index of the thing that shows at a pixel
    for _ in range(40):
        if len(things) == wanted:
            break
        thing = _crowd(rng, size) if has_crowd and not things else _instance(rng, size)
        centre = rng.uniform(0.2, 0.8, 2) * (width, height)
        coverages = [_coverage(outline + centre, height, width) for outline in thing.outlines]
        covered = np.where(np.max(coverages, axis=0) > 0.5, len(things), top)
        if all(_shows(covered == i, each) for i, each in enumerate([*things, thing])):
            for coverage in coverages:
                hue += 0.618  # the golden ratio keeps hues of neighbours apart
                colour = colorsys.hsv_to_rgb(hue % 1, rng.uniform(0.65, 1), rng.uniform(0.6, 1))
                image += coverage[..., None] * (255 * np.array(colour) - image)
            top = covered
            things.append(thing)

    for i, thing in enumerate(things):
        seg_map[top == i] = thing.label + 1
    image = np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
    return image, seg_map, [_annotation(top == i, thing) for i, thing in enumerate(things)]


def _background(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Two muted textures meeting at a horizon: (H, W, 3) float RGB, and its seg map."""
    y, x = np.mgrid[:height, :width]
    slope, level = rng.uniform(-0.3, 0.3), rng.uniform(0.35, 0.65) * height
    below = y - level - slope * (x - width / 2)

    period, angle = rng.uniform(10, 16), rng.uniform(0, np.pi)
    u = (x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period
    v = (y * np.cos(angle) - x * np.sin(angle)) * 2 * np.pi / period
    textures = [  # in the order of STUFF_CLASSES, within -1..1
        2 * (u - u.min()) / np.ptp(u) - 1,
        np.tanh(3 * np.sin(u)),
        np.tanh(3 * np.sin(u) * np.sin(v)),
    ]
    image = np.empty((height, width, 3))
    seg_map = np.empty((height, width), np.uint8)
    for region, stuff in zip((below < 0, below >= 0), rng.permutation(3)[:2], strict=True):
        base = rng.uniform(80, 180) + rng.uniform(-15, 15, 3)
        contrast = rng.uniform(15, 25)
        image[region] = base + contrast * textures[stuff][region][:, None]
        seg_map[region] = len(THING_CLASSES) + stuff + 1
    seg_map[np.abs(below) < 1] = 0  # the horizon belongs to neither
    return image, seg_map


def _instance(rng: np.random.Generator, size: int) -> _Thing:
    label = int(rng.integers(len(THING_CLASSES)))
    length = size * np.exp(rng.uniform(np.log(0.14), np.log(0.8)))
    return _Thing(label, [_outline(rng, label, length)], length**2)


def _crowd(rng: np.random.Generator, size: int) -> _Thing:
    """Nine to sixteen small shapes of one class, side by side."""
    label, length = int(rng.integers(len(THING_CLASSES))), 0.055 * size
    grid = np.argwhere(np.ones(rng.integers(3, 5, 2)))
    offsets = (grid - grid.mean(axis=0) + rng.uniform(-0.2, 0.2, grid.shape)) * 1.2 * length
    outlines = [_outline(rng, label, length) + offset for offset in offsets]
    return _Thing(label, outlines, len(outlines) * length**2)


def _spokes(count: int, inner_radius: float = 1) -> np.ndarray:
    """Corners (count, 2) around the origin, every other one at ``inner_radius``, the rest at 1."""
    angle = 2 * np.pi * np.arange(count) / count
    radius = np.where(np.arange(count) % 2, inner_radius, 1)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


_CROSS_X = np.array([1, 3, 3, 1, 1, -1, -1, -3, -3, -1, -1, 1])
_CROSS = np.stack([_CROSS_X, np.roll(_CROSS_X, 3)], axis=1)  # a quarter turn is three corners
# In the order of THING_CLASSES; of any area.
_CORNERS = [_spokes(48), _spokes(3), _spokes(4), _spokes(10, inner_radius=0.45), _CROSS]


def _outline(rng: np.random.Generator, label: int, length: float) -> np.ndarray:
    """A shape of area ``length**2`` around the origin, stretched and turned, as (N, 2) xy."""
    x, y = _CORNERS[label].T
    unit = _CORNERS[label] / np.sqrt(abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2)
    stretch, angle = np.exp(rng.uniform(-0.2, 0.2)), rng.uniform(-0.3, 0.3)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return unit * (length * stretch, length / stretch) @ turn


def _coverage(outline: np.ndarray, height: int, width: int) -> np.ndarray:
    """How much of each pixel lies within the outline: (H, W), 0..1."""
    import cv2  # comes with mmcv, which importing this package must not need

    canvas = np.zeros((height, width), np.uint8)
    points = np.round(outline * 16).astype(np.int32)  # cv2's fixed point, 4 binary places
    return cv2.fillPoly(canvas, [points], 255, cv2.LINE_AA, shift=4) / 255


def _pieces(mask: np.ndarray) -> tuple[list[np.ndarray], bool]:
    """Outlines (N, 2) xy, N >= 4, of a (H, W) bool mask, and whether it has a hole.

    They run between pixel centres and pixel edges, so that rasterising them gives the mask back.
    """
    import cv2

    doubled = mask.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    contours, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    outlines = [(contour.reshape(-1, 2) + 0.5) / 2 for contour in contours]
    return outlines, bool((hierarchy[0, :, 3] >= 0).any())


def _shows(visible: np.ndarray, thing: _Thing) -> bool:
    """Whether enough is seen, and without the holes that a COCO polygon cannot have."""
    if visible.sum() < max(_MIN_PIXELS, _MIN_VISIBLE * thing.area):
        return False
    return thing.is_crowd or not _pieces(visible)[1]


def _annotation(visible: np.ndarray, thing: _Thing) -> dict:
    y, x = np.nonzero(visible)
    left, top = int(x.min()), int(y.min())
    if thing.is_crowd:
        segmentation = dict(counts=_run_lengths(visible), size=list(visible.shape))
    else:
        segmentation = [outline.ravel().tolist() for outline in _pieces(visible)[0]]
    return dict(
        category_id=_CATEGORY_IDS[thing.label],
        segmentation=segmentation,
        area=len(x),
        bbox=[left, top, int(x.max()) + 1 - left, int(y.max()) + 1 - top],
        iscrowd=int(thing.is_crowd),
    )


def _run_lengths(mask: np.ndarray) -> list[int]:
    """COCO's uncompressed RLE: lengths of the runs down the columns, the first one of zeros."""
    column_major = mask.ravel(order='F').astype(np.int8)
    starts = np.flatnonzero(np.diff(column_major, prepend=0))
    return np.diff(starts, prepend=0, append=column_major.size).tolist()
