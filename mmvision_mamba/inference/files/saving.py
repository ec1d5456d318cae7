"""What predictions are written as: drawn images and videos, COCO JSON, label maps, tables.

Each way is a context manager: leaving it makes its file whole; leaving it by an exception leaves
what stood there before.
"""

import csv
import io
import json
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from pycocotools import mask as coco_masks

from ...checkpoints.durable_files import DurableLocalBackend, whole_or_absent
from ...errors import InputError
from ..image_files import read_image
from ..results import DetectionResult, SegmentationResult
from .sources import Source, output_names
from .videos import VideoFile

Result = DetectionResult | SegmentationResult

# What can be asked for, with what it writes under the folder of the results.
KINDS = {
    'image': 'drawn images under images/, drawn videos under videos/',
    'coco': 'predictions.json in COCO format, masks as RLE',
    'prelabels': 'prelabels.json in COCO format, masks as polygons, for CVAT and Label Studio',
    'png': 'label maps under labels/, and legend.csv (segmentation)',
    'csv': 'predictions.csv, a line for each object, or for each class of an image',
}
DEFAULTS = {'detection': ('image', 'coco'), 'segmentation': ('image', 'png')}
_COLORS_OF_A_PNG = 256


@dataclass(frozen=True, slots=True)
class Item:
    """One image to predict on: a file's, or a frame of a video.

    Attributes:
        source: The file.
        frame: Number of the frame, from 0; None for an image.
        pixels: The frame, (H, W, 3) uint8 RGB; None for an image, whose file is read again.
        rate: Frames a second of the video.
    """

    source: Source
    frame: int | None = None
    pixels: np.ndarray | None = None
    rate: float = 0.0

    @property
    def name(self) -> str:
        """What files call it; frames end as CVAT names those of its video tasks."""
        if self.frame is None:
            return self.source.name
        return f'{self.source.name}/frame_{self.frame:06d}.png'

    def read(self) -> np.ndarray:
        return read_image(self.source.path) if self.pixels is None else self.pixels


class Saver:
    """One way of writing predictions.

    Attributes:
        paths: The files and folders that it writes.
    """

    paths: list[Path]

    def __enter__(self) -> 'Saver':
        return self

    def __exit__(self, *error) -> None:
        pass

    def prepare(self, item: Item, result: Result) -> Any:
        """Do the long part of the work: in several threads at once, in any order."""

    def write(self, item: Item, prepared: Any) -> None:
        """Do the rest, in the order of the items, with what :meth:`prepare` returned."""


def make_savers(
    kinds: Sequence[str],
    out: Path,
    sources: Sequence[Source],
    class_names: Sequence[str],
    palette: np.ndarray,
    task: str,
) -> list[Saver]:
    """The ways of writing that were asked for.

    Args:
        kinds: Of :data:`KINDS`.
        out: Folder of the results.
        sources: All that is predicted on, by which files get names of their own.
        class_names: Of the model.
        palette: (number of classes, 3) uint8 RGB.
        task: ``detection`` or ``segmentation``.

    Raises:
        InputError: Label maps are asked of a detector.
    """
    if task == 'detection' and 'png' in kinds:
        raise InputError('--save png: a detector gives no label maps; image, coco and csv would do')
    makers = {
        'image': lambda: DrawnImages(out, sources),
        'coco': lambda: CocoFile(out / 'predictions.json', class_names),
        'prelabels': lambda: CocoFile(out / 'prelabels.json', class_names, polygons=True),
        'png': lambda: LabelMaps(out, sources, class_names, palette),
        'csv': lambda: Table(out / 'predictions.csv', task),
    }
    return [makers[kind]() for kind in dict.fromkeys(kinds)]


class DrawnImages(Saver):
    """Drawn images under their names: of JPEG files JPEG, else PNG; of videos MP4 of their rate."""

    def __init__(self, out: Path, sources: Sequence[Source]) -> None:
        images = [source.name for source in sources if not source.is_video]
        videos = [source.name for source in sources if source.is_video]
        folders = {out / 'images': images, out / 'videos': videos}
        self.paths = [folder for folder, names in folders.items() if names]
        drawn_images = output_names(images, ('.jpg', '.jpeg', '.png'), '.png')
        drawn_videos = output_names(videos, ('.mp4',), '.mp4')
        self.files = {name: out / 'images' / file for name, file in zip(images, drawn_images)}
        self.files |= {name: out / 'videos' / file for name, file in zip(videos, drawn_videos)}
        self._video: VideoFile | None = None

    def __exit__(self, kind, *error) -> None:
        if kind is None:
            self._end_video()
        elif self._video is not None:
            self._video.discard()

    def prepare(self, item: Item, result: Result) -> np.ndarray | None:
        if item.frame is not None:  # of one size all
            return result.draw(item.pixels, legend=False)
        drawn = result.draw(item.read())
        file = self.files[item.source.name]
        options = dict(compress_level=1) if file.suffix.lower() == '.png' else dict(quality=92)
        _put_image(Image.fromarray(drawn), file, **options)
        return None

    def write(self, item: Item, prepared: np.ndarray | None) -> None:
        file = self.files[item.source.name]
        if self._video is not None and self._video.path != file:
            self._end_video()
        if prepared is not None:
            self._video = self._video or VideoFile(file, item.rate)
            self._video.write(prepared)

    def _end_video(self) -> None:
        if self._video is not None:
            video, self._video = self._video, None
            video.finish()


class CocoFile(Saver):
    """One JSON file of ``images``, ``categories`` and ``annotations`` that have a ``score``.

    It is written as it grows, with no image held in memory, and gets its name at the end. Ids of
    images, annotations and categories count from 1, categories in the order of ``class_names``.

    Args:
        path: The file.
        class_names: Of the model.
        polygons: Whether masks are written as polygons, which tools for labelling take and edit, to
            a pixel and with holes filled; or else as RLE, exactly.
    """

    def __init__(self, path: Path, class_names: Sequence[str], polygons: bool = False) -> None:
        self.paths = [path]
        self._ids = list(range(1, len(class_names) + 1))
        self._categories = [
            dict(id=number, name=name) for number, name in zip(self._ids, class_names)
        ]
        self._polygons = polygons
        self._images = self._annotations = 0

    def __enter__(self) -> 'CocoFile':
        (path,) = self.paths
        with ExitStack() as opened:
            self._file = opened.enter_context(whole_or_absent(path))
            # Its entries follow those of the images, whose number nobody knows.
            self._later = opened.enter_context(tempfile.TemporaryFile(dir=path.parent))
            categories = json.dumps(self._categories)
            self._file.write(f'{{"categories": {categories},\n"images": ['.encode())
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *error) -> None:
        if error[0] is not None:
            self._opened.__exit__(*error)
            return
        with self._opened:
            self._file.write(b'\n],\n"annotations": [')
            self._later.seek(0)
            shutil.copyfileobj(self._later, self._file)
            self._file.write(b'\n]}\n')

    def prepare(self, item: Item, result: Result) -> tuple[dict, list[dict]]:
        height, width = result.image_size
        image = dict(file_name=item.name, width=width, height=height)
        annotations = result.to_coco(category_ids=self._ids)
        for annotation in annotations:
            rle = annotation.get('segmentation')
            if rle is None:
                annotation['area'] = annotation['bbox'][2] * annotation['bbox'][3]
                annotation['segmentation'] = []  # which CVAT takes for a rectangle
            else:
                annotation['area'] = int(coco_masks.area(rle))
                if self._polygons:
                    annotation['segmentation'] = _polygons(rle)
            annotation['iscrowd'] = 0
        return image, annotations

    def write(self, item: Item, prepared: tuple[dict, list[dict]]) -> None:
        image, annotations = prepared
        self._images += 1
        self._append(self._file, self._images, image)
        for annotation in annotations:
            self._annotations += 1
            annotation['image_id'] = self._images
            self._append(self._later, self._annotations, annotation)

    @staticmethod
    def _append(file: io.BufferedIOBase, number: int, entry: dict) -> None:
        text = json.dumps(dict(id=number) | entry)
        file.write(f'{"," if number > 1 else ""}\n{text}'.encode())


class LabelMaps(Saver):
    """PNG label maps of the images' sizes, with the classes' colours, and a table of the classes.

    A pixel's value is the place of its class in the table: 8 bit with a palette, or 16 bit where
    there are more than 256 classes.
    """

    def __init__(
        self,
        out: Path,
        sources: Sequence[Source],
        class_names: Sequence[str],
        palette: np.ndarray,
    ) -> None:
        self.paths = [out / 'labels', out / 'legend.csv']
        self.class_names = class_names
        self.palette = np.asarray(palette, np.uint8)
        images = [source.name for source in sources if not source.is_video]
        self.files = dict(zip(images, output_names(images, (), '.png')))

    def __enter__(self) -> 'LabelMaps':
        rows = io.StringIO()
        table = csv.writer(rows)
        table.writerow(['index', 'name', 'color'])
        for index, (name, color) in enumerate(zip(self.class_names, self.palette)):
            table.writerow([index, name, '#{:02x}{:02x}{:02x}'.format(*color)])
        DurableLocalBackend().put_text(rows.getvalue(), self.paths[1])
        return self

    def prepare(self, item: Item, result: SegmentationResult) -> None:
        if len(self.class_names) <= _COLORS_OF_A_PNG:
            image = Image.fromarray(result.label_map.astype(np.uint8))
            image.putpalette(self.palette.tobytes())
        else:
            image = Image.fromarray(result.label_map.astype(np.uint16))
        _put_image(image, self.paths[0] / self.files.get(item.name, item.name))


class Table(Saver):
    """One CSV file, a line for each object of a detector, or class that an image has pixels of."""

    def __init__(self, path: Path, task: str) -> None:
        self.paths = [path]
        self._is_detector = task == 'detection'

    def __enter__(self) -> 'Table':
        columns = ['pixels', 'share']
        if self._is_detector:
            columns = ['score', 'x1', 'y1', 'x2', 'y2', 'mask_area']
        with ExitStack() as opened:
            file = opened.enter_context(whole_or_absent(self.paths[0]))
            # A name whose bytes are no UTF-8 is not to make the file unreadable.
            text = io.TextIOWrapper(file, 'utf-8', errors='backslashreplace', newline='')
            opened.callback(text.detach)
            self._table = csv.writer(text)
            self._table.writerow(['file', 'frame', 'class', *columns])
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *error) -> None:
        self._opened.__exit__(*error)

    def prepare(self, item: Item, result: Result) -> list[list]:
        frame = '' if item.frame is None else item.frame
        rows = self._objects(result) if self._is_detector else self._classes(result)
        return [[item.source.name, frame, *row] for row in rows]

    def write(self, item: Item, prepared: list[list]) -> None:
        self._table.writerows(prepared)

    @staticmethod
    def _objects(result: DetectionResult) -> list[list]:
        masks = result.compact_masks
        areas = [''] * len(result.scores) if masks is None else masks.area.tolist()
        return [
            [result.class_names[label], f'{score:.4f}', *(f'{x:.2f}' for x in box), area]
            for label, score, box, area in zip(result.labels, result.scores, result.boxes, areas)
        ]

    @staticmethod
    def _classes(result: SegmentationResult) -> list[list]:
        counts = np.bincount(result.label_map.ravel(), minlength=len(result.class_names))
        return [
            [result.class_names[label], counts[label], f'{counts[label] / counts.sum():.6f}']
            for label in np.flatnonzero(counts)
        ]


def _put_image(image: Image.Image, path: Path, **options) -> None:
    """Write an image, whole or not at all."""
    encoded = io.BytesIO()
    format = 'png' if path.suffix.lower() == '.png' else 'jpeg'
    image.save(encoded, format, **options)
    DurableLocalBackend().put(encoded.getbuffer(), path)


def _polygons(rle: dict) -> list[list[float]]:
    """Outlines of a mask's parts, each ``[x1, y1, x2, y2, ...]``, true to a pixel."""
    mask = coco_masks.decode(rle)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outlines = (cv2.approxPolyDP(contour, 1.0, True) for contour in contours)
    # OpenCV counts from the middle of a pixel, COCO from its corner.
    return [(points.ravel() + 0.5).tolist() for points in outlines if len(points) >= 3]
