"""What is found in an image, in COCO's format, without pycocotools."""

import numpy as np

from .results import Crop, Detections, Segmentation


def coco_annotations(found: Detections | Segmentation, score: float) -> list[dict]:
    """Objects of this score and above, or classes that are present, as COCO has annotations."""
    if isinstance(found, Segmentation):
        return _class_annotations(found)
    annotations = []
    boxes = found.boxes.astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    for place in np.flatnonzero(found.scores >= score):
        entry = dict(
            category_id=int(found.labels[place]) + 1,
            bbox=boxes[place].tolist(),
            score=float(found.scores[place]),
        )
        if found.masks is None:
            entry.update(area=entry['bbox'][2] * entry['bbox'][3], segmentation=[])
        else:
            mask = found.masks[place]
            entry['segmentation'] = run_lengths(mask, found.size)
            entry['area'] = int(mask.pixels.sum())
        annotations.append(entry | dict(iscrowd=0))
    return annotations


def _class_annotations(found: Segmentation) -> list[dict]:
    annotations = []
    for label in np.unique(found.label_map).tolist():
        pixels = found.label_map == label
        rows, columns = (pixels.any(axis=axis).nonzero()[0] for axis in (1, 0))
        left, top = int(columns[0]), int(rows[0])
        box = [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1]
        score = 1.0
        if found.probabilities is not None:
            score = float(found.probabilities[label].mean(where=pixels, dtype=np.float32))
        annotations.append(
            dict(
                category_id=label + 1,
                bbox=[float(side) for side in box],
                score=score,
                segmentation=run_lengths(Crop(0, 0, pixels), found.size),
                area=int(pixels.sum()),
                iscrowd=0,
            )
        )
    return annotations


def run_lengths(mask: Crop, size: tuple[int, int]) -> dict:
    """A mask of a whole image of (height, width) in COCO's compressed form."""
    height, width = size
    rows, columns = mask.pixels.shape
    # Columns one below the other, as COCO counts.
    flat = np.zeros((columns, height), np.int8)
    flat[:, mask.top : mask.top + rows] = mask.pixels.T
    places = np.diff(flat.ravel(), prepend=0, append=0).nonzero()[0] + mask.left * height
    counts = np.diff(places, prepend=0, append=height * width).tolist()
    if not counts[-1]:
        counts.pop()
    return dict(size=[height, width], counts=_compressed(counts))


def _compressed(counts: list[int]) -> str:
    """Run lengths as text: each as its difference from the last but one, in digits of five bits."""
    text = []
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        more = True
        while more:
            digit, value = value & 31, value >> 5
            more = value != (-1 if digit & 16 else 0)
            text.append(chr(48 + digit + 32 * more))
    return ''.join(text)
