"""Where labels go: inside the image, off each other, and off the objects where there is room."""

import cv2
import numpy as np

_HARM = (
    0.35  # from this on a label hides more than it tells: the share of an object covered, summed
)
_MOST = 0.2  # of the image that labels of boxes cover at most, in sum
_ALONG = np.linspace(0, 1, 5)  # places tried along each side of a box
_SIZE = 512  # longest side, in pixels, of a label map that regions are looked for in
_SHARE = 0.01  # of the image that a region has at least to be labelled
_REGIONS = 3  # labelled at most of a class


def beside_boxes(boxes: np.ndarray, sizes: np.ndarray, frame: tuple[int, int]) -> np.ndarray:
    """Places of labels, each at its box: outside along a side, else inside.

    Of the places that no earlier label takes, a label gets that which covers least of the objects,
    each object counting by the share of it that is covered. Where labels would cover much of the
    image, the last get none.

    Args:
        boxes: (n, 4) x1 y1 x2 y2 in pixels, the most important first.
        sizes: (n, 2) width and height of the labels.
        frame: (height, width) of the image.

    Returns:
        (n, 2) int x y of the labels' upper left corners; (-1, -1) where there is no room for one.
    """
    places = np.full((len(boxes), 2), -1)
    taken = np.zeros((0, 4))
    room = _MOST * frame[0] * frame[1]
    for index, (box, size) in enumerate(zip(boxes, sizes)):
        if size.prod() > room:
            continue
        corners = _around(box, size, frame)
        spots = np.hstack([corners, corners + size])
        spots = spots[~_overlaps(spots, taken).any(axis=1)]
        if not len(spots):
            continue
        covered = _overlaps(spots, boxes)
        areas = np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), 1)
        harm = np.minimum(covered / areas, 1).sum(axis=1)
        # Of places as harmless, that over the least of anything, then the first.
        harm_and_rank = (
            harm + 0.05 * covered.sum(axis=1) / size.prod() + 1e-3 * np.arange(len(spots))
        )
        best = harm_and_rank.argmin()
        if harm[best] < _HARM or len(boxes) == 1:
            places[index] = spots[best, :2]
            taken = np.vstack([taken, spots[best]])
            room -= size.prod()
    return places


def _around(box: np.ndarray, size: np.ndarray, frame: tuple[int, int]) -> np.ndarray:
    """(m, 2) int corners for a label of a box, inside the frame, the preferred first."""
    x1, y1, x2, y2 = box
    width, height = size
    along_x, along_y = x1 + _ALONG * (x2 - width - x1), y1 + _ALONG * (y2 - height - y1)
    corners = np.empty((6, len(_ALONG), 2))
    for row, y in zip((0, 1, 4, 5), (y1 - height, y2, y1, y2 - height)):
        corners[row, :, 0], corners[row, :, 1] = along_x, y
    for row, x in zip((2, 3), (x1 - width, x2)):
        corners[row, :, 0], corners[row, :, 1] = x, along_y
    room = np.array([frame[1] - width, frame[0] - height])
    if (room < 0).any():
        return np.zeros((0, 2), int)
    return np.clip(corners.reshape(-1, 2).round(), 0, room).astype(int)


def _overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Areas (n, m) that (n, 4) boxes share with (m, 4) boxes."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    return np.maximum(high - low, 0).prod(axis=-1)


def within_regions(
    label_map: np.ndarray, sizes: dict[int, tuple[int, int]]
) -> list[tuple[int, int, int]]:
    """Places of labels in the largest connected regions of each class, where they fit.

    Args:
        label_map: (height, width) integers.
        sizes: Width and height of the label of each class that is to be labelled.

    Returns:
        Class, and x y of the label's upper left corner, of each label.
    """
    step = -(-max(label_map.shape) // _SIZE)
    small = label_map[::step, ::step]
    places: list[tuple[int, int, int]] = []
    taken = np.zeros((0, 4))
    for label, size in sizes.items():
        count, regions, stats, _ = cv2.connectedComponentsWithStats(np.uint8(small == label))
        areas = stats[:, cv2.CC_STAT_AREA]
        largest = 1 + np.argsort(-areas[1:], kind='stable')[:_REGIONS]
        for region in largest[areas[largest] >= _SHARE * small.size] if count > 1 else ():
            corner = _deep_in(regions == region, np.ceil(np.array(size) / step).astype(int))
            if corner is None:
                continue
            # The last of the steps may be cut short.
            room = np.array(label_map.shape[::-1]) - size
            if (room < 0).any():
                continue
            corner = np.minimum(corner * step, room)
            spot = np.hstack([corner, corner + size])[None]
            if not _overlaps(spot, taken).any():
                taken = np.vstack([taken, spot])
                places.append((label, *map(int, spot[0, :2])))
    return places


def _deep_in(region: np.ndarray, size: np.ndarray) -> np.ndarray | None:
    """Corner x y of a label of a size, all inside a region and as far from its edge as can be."""
    width, height = size
    if height > region.shape[0] or width > region.shape[1]:
        return None
    padded = np.pad(np.uint8(region), 1)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    # [y, x] is how many of the pixels under a label whose corner is there are the region's
    total = cv2.integral(np.uint8(region))
    inside = total[height:, width:] - total[:-height, width:] - total[height:, :-width]
    inside = inside + total[:-height, :-width]
    fits = inside == width * height
    if not fits.any():
        return None
    top, left = height // 2, width // 2
    centers = depth[top : top + fits.shape[0], left : left + fits.shape[1]]
    y, x = np.unravel_index(np.where(fits, centers, -1).argmax(), fits.shape)
    return np.array([x, y])
