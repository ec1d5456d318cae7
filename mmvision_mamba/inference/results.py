"""What a model found in an image, as plain NumPy arrays."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import supervision as sv
from pycocotools import mask as coco_mask

from ..errors import InputError

if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True, eq=False, kw_only=True)
class _Result:
    image_size: tuple[int, int]
    class_names: tuple[str, ...]
    palette: np.ndarray
    path: Path | None = None

    def draw(self, image: np.ndarray | None = None, **options) -> np.ndarray:
        """The image with the result on it, (H, W, 3) uint8 RGB.

        Args:
            image: (H, W, 3) uint8 RGB, the image that the result is of; None to read it again from
                ``path``.
            options: Of :func:`mmvision_mamba.inference.drawing.annotate.draw`.

        Raises:
            InputError: No image is given and the result is not of a file, or the file cannot be
                read any more.
        """
        from .drawing.annotate import draw  # which knows of results
        from .image_files import read_image

        if image is None and self.path is None:
            raise InputError('the result is not of a file: give the image to draw it on')
        return draw(read_image(self.path) if image is None else image, self, **options)


@dataclass(frozen=True, eq=False, kw_only=True)
class DetectionResult(_Result):
    """Objects found in one image, best first.

    Attributes:
        image_size: (height, width) in pixels of the image as it is seen (EXIF orientation applied).
        boxes: (n, 4) float32, x1 y1 x2 y2 in pixels of that image.
        scores: (n,) float32, descending.
        labels: (n,) int64, index into ``class_names``.
        compact_masks: The objects' masks as supervision keeps them, each within a rectangle of its
            own, so that a hundred of a huge image fit in memory; None of a detector of boxes alone.
        class_names: Of all classes of the model.
        palette: (len(class_names), 3) uint8, an RGB colour for each class.
        path: The image's file, if it was one.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    compact_masks: sv.CompactMask | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def masks(self) -> np.ndarray | None:
        """(n, H, W) bool, made anew at each access; None of a detector of boxes alone."""
        return None if self.compact_masks is None else self.compact_masks.to_dense()

    def select(self, which: np.ndarray) -> Self:
        """Those of the objects that an array of indices, or of n booleans, picks."""
        which = np.asarray(which)
        which = which.nonzero()[0] if which.dtype == bool else which.astype(np.int64)
        return replace(
            self,
            boxes=self.boxes[which],
            scores=self.scores[which],
            labels=self.labels[which],
            compact_masks=None if self.compact_masks is None else self.compact_masks[which],
        )

    def above(self, score: float) -> Self:
        """The objects whose score is ``score`` or more."""
        return self.select(self.scores >= score)

    def of_classes(self, names: Collection[str]) -> Self:
        """The objects of the named classes.

        Raises:
            InputError: A name is of none of the model's classes.
        """
        return self.select(np.isin(self.labels, class_indices(names, self.class_names)))

    def to_supervision(self) -> sv.Detections:
        """As ``supervision`` has detections, with the classes' names as ``data['class_name']``."""
        return sv.Detections(
            xyxy=self.boxes,
            mask=self.compact_masks,
            confidence=self.scores,
            class_id=self.labels,
            data={'class_name': np.array(self.class_names)[self.labels]},
        )

    def to_coco(self, image_id: int = 0, category_ids: Sequence[int] | None = None) -> list[dict]:
        """As COCO's format for results has detections, of plain Python values, ready for JSON.

        Args:
            image_id: Which image of the data set this is.
            category_ids: Of each class of the model; None for its index.

        Returns:
            Of each object ``image_id``, ``category_id``, ``bbox`` (x, y, width, height in pixels),
            ``score``, and, where there are masks, ``segmentation`` (run lengths, compressed).
        """
        ids = _category_ids(category_ids, self.class_names)
        boxes = self.boxes.astype(np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        found = [
            dict(image_id=image_id, category_id=ids[label], bbox=box, score=score)
            for label, box, score in zip(self.labels, boxes.tolist(), self.scores.tolist())
        ]
        if self.compact_masks is not None:
            for index, entry in enumerate(found):
                entry['segmentation'] = _run_lengths(self.compact_masks, index)
        return found


@dataclass(frozen=True, eq=False, kw_only=True)
class SegmentationResult(_Result):
    """The class of each pixel of one image.

    Attributes:
        image_size: (height, width) in pixels of the image as it is seen (EXIF orientation applied).
        label_map: (H, W) uint8 (int32 of a model of more than 255 classes), index into
            ``class_names``.
        probabilities: (K, H, W) float32, of each class; None unless the predictor was asked.
        class_names: Of all K classes of the model.
        palette: (K, 3) uint8, an RGB colour for each class.
        path: The image's file, if it was one.
    """

    label_map: np.ndarray
    probabilities: np.ndarray | None = None

    def classes_present(self) -> np.ndarray:
        """(m,) int64: the classes that some pixel has, ascending."""
        counts = np.bincount(self.label_map.ravel(), minlength=len(self.class_names))
        return counts[: len(self.class_names)].nonzero()[0]

    def to_supervision(self) -> sv.Detections:
        """As ``supervision`` has a segmentation: one mask for each class that is present."""
        present = self.classes_present()
        masks = self.label_map == present[:, None, None]
        boxes = tight_boxes(masks).astype(np.float32)
        return sv.Detections(
            xyxy=boxes,
            mask=masks,
            confidence=self._scores(present),
            class_id=present,
            data={'class_name': np.array(self.class_names)[present]},
        )

    def to_coco(self, image_id: int = 0, category_ids: Sequence[int] | None = None) -> list[dict]:
        """As COCO's format for results has segmentations, of plain Python values, ready for JSON.

        Args:
            image_id: Which image of the data set this is.
            category_ids: Of each class of the model; None for its index.

        Returns:
            Of each class that is present ``image_id``, ``category_id``, ``segmentation`` (run
            lengths, compressed), ``bbox`` (x, y, width, height in pixels) and ``score``: the mean
            probability of the class over its pixels, or 1 where probabilities were not asked for.
        """
        ids = _category_ids(category_ids, self.class_names)
        present = self.classes_present()
        found = []
        for label, score in zip(present, self._scores(present).tolist()):
            segmentation = coco_mask.encode(np.asfortranarray(self.label_map == label, np.uint8))
            found.append(
                dict(
                    image_id=image_id,
                    category_id=ids[label],
                    bbox=coco_mask.toBbox(segmentation).tolist(),
                    score=score,
                    segmentation=_as_text(segmentation),
                )
            )
        return found

    def _scores(self, present: np.ndarray) -> np.ndarray:
        """(m,) float32, of each class that is present its mean probability, or 1."""
        if self.probabilities is None:
            return np.ones(len(present), np.float32)
        means = [self.probabilities[k].mean(where=self.label_map == k) for k in present]
        return np.array(means, np.float32)


def class_indices(names: Collection[str], class_names: Sequence[str]) -> list[int]:
    """Where the named classes stand among those of a model.

    Raises:
        InputError: A name is of none of them.
    """
    if isinstance(names, str):
        names = [names]
    unknown = [name for name in names if name not in class_names]
    if unknown:
        known = ', '.join(class_names[:20]) + (', ...' if len(class_names) > 20 else '')
        raise InputError(
            f'{", ".join(map(repr, unknown))}: no class of the model, which has {known}'
        )
    return [class_names.index(name) for name in names]


def tight_boxes(masks: np.ndarray) -> np.ndarray:
    """First and last column and row of each of (n, H, W) masks: x1 y1 x2 y2, (n, 4) int64.

    Of an empty mask x2 and y2 are -1, and less than x1 and y1.
    """
    boxes = np.zeros((len(masks), 4), np.int64)
    for box, mask in zip(boxes, masks):
        rows = mask.any(axis=1).nonzero()[0]
        if len(rows):
            columns = mask[rows[0] : rows[-1] + 1].any(axis=0).nonzero()[0]
            box[:] = columns[0], rows[0], columns[-1], rows[-1]
        else:
            box[2:] = -1
    return boxes


def _category_ids(ids: Sequence[int] | None, class_names: Sequence[str]) -> list[int]:
    if ids is None:
        return list(range(len(class_names)))
    if len(ids) != len(class_names):
        raise InputError(f'{len(ids)} category ids are given for {len(class_names)} classes')
    return [int(category) for category in ids]


def _run_lengths(masks: sv.CompactMask, index: int) -> dict:
    """One mask of the whole image in COCO's compressed form, without ever making it whole."""
    height, width = masks.image_shape
    left, top = masks.offsets[index].tolist()
    crop = masks.crop(index)
    # Columns one below the other, as COCO counts, each between two pixels that are not set.
    columns = np.zeros((crop.shape[1], crop.shape[0] + 2), np.int8)
    columns[:, 1:-1] = crop.T
    changes = np.diff(columns, axis=1).ravel().nonzero()[0]
    column, row = np.divmod(changes, crop.shape[0] + 1)
    places = (column + left) * height + row + top
    if crop.shape[0] == height:
        # Twice there is one where a run ends at the bottom and the next begins at the top.
        places, times = np.unique(places, return_counts=True)
        places = places[times == 1]
    counts = np.diff(places, prepend=0, append=height * width)
    counts = counts[: len(counts) - (counts[-1] == 0)]
    uncompressed = dict(size=[height, width], counts=counts.tolist())
    return _as_text(coco_mask.frPyObjects(uncompressed, height, width))


def _as_text(run_lengths: dict) -> dict:
    size, counts = run_lengths['size'], run_lengths['counts']
    return dict(size=[int(side) for side in size], counts=counts.decode())
