"""What can be wrong with a data set, and the count of it."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple


class Kind(NamedTuple):
    """A kind of finding.

    Attributes:
        meaning: What is wrong.
        training: What training does with it.
        stops: Whether ``tools/train.py`` refuses to start: mmdet would fail on it.
    """

    meaning: str
    training: str
    stops: bool = False


_STOPS = 'does not start'
_FAILS = 'stops, or passes over it'
_LEFT_OUT = 'leaves the object out'
_USED = 'uses it as it is'

KINDS = {
    # of an annotation file
    'malformed category': Kind('no object with an id and a name', _STOPS, True),
    'duplicate category id': Kind('of several, the last counts', _USED),
    'duplicate category name': Kind('shifts the labels of the classes after it', _STOPS, True),
    'class without category': Kind('shifts the labels of the classes after it', _STOPS, True),
    'class out of order': Kind(
        "labels follow the file's order of categories, names that of metainfo.classes",
        _STOPS,
        True,
    ),
    'category without class': Kind('metainfo.classes does not name it', 'leaves its objects out'),
    'malformed image': Kind(
        'no object with an id, a file_name, a width and a height that OpenCV reads', _STOPS, True
    ),
    'duplicate image id': Kind('of several, the last counts', 'leaves the others out'),
    'duplicate file name': Kind('several entries are one image', _USED),
    'malformed annotation': Kind(
        'no object with an id, an image_id, a category_id and an area; or another iscrowd than 0 '
        'and 1',
        _STOPS,
        True,
    ),
    'duplicate annotation id': Kind('mmdet needs them unique', _STOPS, True),
    'unknown image id': Kind('image_id of no image', _LEFT_OUT),
    'unknown category id': Kind('category_id of no category', _LEFT_OUT),
    'malformed box': Kind('bbox is not four numbers x, y, width, height', _STOPS, True),
    'box outside the image': Kind(
        'by more than a pixel', 'cuts it off; where nothing is left, leaves the object out'
    ),
    'box of no area': Kind('less than a pixel wide or high, or an area of 0', _LEFT_OUT),
    'no segmentation': Kind('and the config trains masks', _STOPS, True),
    'malformed segmentation': Kind(
        'neither a list of lists of numbers nor an object with counts and size', _STOPS, True
    ),
    'polygon under 3 points': Kind(
        'less than six numbers, or an odd count',
        'leaves the polygon out; ignores an object of none',
    ),
    'polygon outside the image': Kind('by more than a pixel', 'cuts it off'),
    'RLE of another size': Kind(
        "size is not the image's height and width, or counts do not add up to it", _STOPS, True
    ),
    # of images and seg maps
    'missing image': Kind('no such file', _FAILS),
    'unreadable image': Kind('no image that Pillow and OpenCV can decode', _FAILS),
    'truncated image': Kind('the file ends before the image does', 'fills the rest with grey'),
    'image of another size': Kind(
        'than width and height in the annotation file (as turned by EXIF)', _USED
    ),
    'missing seg map': Kind('no such file', _FAILS),
    'unreadable seg map': Kind('no image that Pillow can decode', _FAILS),
    'truncated seg map': Kind('the file ends before the image does', _FAILS),
    'seg map of several channels': Kind('colours in place of class ids', _FAILS),
    'seg map of another size': Kind('than its image', _FAILS),
    'labels begin at 0': Kind(
        'with reduce_zero_label, which takes 0 for unlabelled: 0 and 255 are used, the last '
        "class's label nowhere",
        _STOPS,
        True,
    ),
    'unknown label': Kind('an id outside the table of classes, and not 255', _FAILS),
}


@dataclass
class Report:
    """What was found in one data set.

    Attributes:
        name: Splits that use it, and its annotation file or image folder.
        max_names: How many findings of a kind are kept by name.
        images: How many it has.
        annotations: How many it has; 0 for seg maps.
        empty: Images without an annotation, which is no fault.
        counts: Findings of each kind in :data:`KINDS`.
        names: The first findings of each kind, in words.
    """

    name: str
    max_names: int = 5
    images: int = 0
    annotations: int = 0
    empty: int = 0
    counts: Counter = field(default_factory=Counter)
    names: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, name: str) -> None:
        """Count a finding.

        Raises:
            KeyError: ``kind`` is not in :data:`KINDS`.
        """
        KINDS[kind]
        self.counts[kind] += 1
        names = self.names.setdefault(kind, [])
        if len(names) < self.max_names:
            names.append(name)

    @property
    def stopping(self) -> list[str]:
        """The kinds found that training refuses to start on."""
        return [kind for kind in self.counts if KINDS[kind].stops]


def shown(value: object, length: int = 60) -> str:
    """A value of a file as printable text of bounded length."""
    text = value if isinstance(value, str) and value.isprintable() else ascii(value)
    return text if len(text) <= length else text[: length - 3] + '...'
