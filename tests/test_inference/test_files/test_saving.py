"""Results are written in formats that others read, whole or not at all."""

import csv
import importlib
import json
import os
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import pytest
import supervision as sv
from PIL import Image
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO

from mmvision_mamba.errors import InputError
from mmvision_mamba.inference.files.saving import KINDS, Item, make_savers
from mmvision_mamba.inference.files.sources import Source
from mmvision_mamba.inference.files.videos import Video, VideoFile
from mmvision_mamba.inference.results import DetectionResult, SegmentationResult

CLASSES = ('bolt', 'nut, washer', 'Käfer')
PALETTE = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
HEIGHT, WIDTH = 48, 64


def detection(count=2, masks=True) -> DetectionResult:
    boxes = np.array([[4, 6, 20, 30], [30, 10, 60, 40]], np.float32)[:count]
    dense = np.zeros((count, HEIGHT, WIDTH), bool)
    for mask, (x1, y1, x2, y2) in zip(dense, boxes.astype(int)):
        mask[y1:y2, x1:x2] = True
        mask[y1 + 5 : y1 + 9, x1 + 5 : x1 + 9] = False  # a hole
    compact = sv.CompactMask.from_dense(dense, boxes, (HEIGHT, WIDTH)) if masks else None
    return DetectionResult(
        image_size=(HEIGHT, WIDTH),
        boxes=boxes,
        scores=np.array([0.9, 0.4], np.float32)[:count],
        labels=np.array([1, 2])[:count],
        class_names=CLASSES,
        palette=PALETTE,
        compact_masks=compact,
    )


def segmentation(classes=CLASSES, palette=PALETTE) -> SegmentationResult:
    label_map = np.zeros((HEIGHT, WIDTH), np.uint8 if len(classes) < 256 else np.int32)
    label_map[:, 32:] = len(classes) - 1
    return SegmentationResult(
        image_size=(HEIGHT, WIDTH), label_map=label_map, class_names=classes, palette=palette
    )


@pytest.fixture
def sources(tmp_path):
    """A function that writes images of the given names, and gives them as sources."""

    def write(*names):
        found = []
        for name in names:
            path = tmp_path / 'in' / name
            path.parent.mkdir(parents=True, exist_ok=True)
            image = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)
            Image.fromarray(image).save(path, 'jpeg' if path.suffix == '.jpg' else 'png')
            found.append(Source(path, name))
        return found

    return write


def save(kinds, out, items, results, task='detection', classes=CLASSES, palette=PALETTE):
    """Write results as the tool does; ``items`` are sources, or items of frames."""
    items = [Item(item) if isinstance(item, Source) else item for item in items]
    everything = list(dict.fromkeys(item.source for item in items))
    with ExitStack() as saving:
        savers = make_savers(kinds, out, everything, classes, palette, task)
        for saver in savers:
            saving.enter_context(saver)
        for item, result in zip(items, results):
            for saver in savers:
                saver.write(item, saver.prepare(item, result))
    return [path for saver in savers for path in saver.paths]


def frames(source, count, rate=10.0):
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = rng.integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        yield Item(source, number, pixels, rate)


def test_coco_json_is_read_as_a_data_set_and_as_results(tmp_path, sources):
    images = sources('a.png', 'empty.png', 'b.png')
    (path,) = save(['coco'], tmp_path, images, [detection(2), detection(0), detection(1)])
    coco = COCO(str(path))
    assert [image['file_name'] for image in coco.loadImgs([1, 2, 3])] == [
        'a.png',
        'empty.png',
        'b.png',
    ]
    assert [coco.cats[number]['name'] for number in (1, 2, 3)] == list(CLASSES)
    assert {number: len(found) for number, found in coco.imgToAnns.items()} == {1: 2, 3: 1}
    first = coco.anns[1]
    assert first['bbox'] == [4, 6, 16, 24]
    assert first['category_id'] == 2
    assert first['score'] == pytest.approx(0.9)
    assert np.array_equal(coco.annToMask(first), detection().masks[0])
    assert first['area'] == detection().masks[0].sum()
    results = coco.loadRes(json.loads(path.read_text())['annotations'])
    assert len(results.anns) == 3


def test_a_detector_of_boxes_alone_has_empty_segmentations(tmp_path, sources):
    (path,) = save(['coco'], tmp_path, sources('a.png'), [detection(1, masks=False)])
    (annotation,) = json.loads(path.read_text())['annotations']
    assert annotation['segmentation'] == []
    assert annotation['area'] == 16 * 24
    assert annotation['iscrowd'] == 0


def test_prelabels_are_polygons_true_to_a_pixel_with_holes_filled(tmp_path, sources):
    (path,) = save(['prelabels'], tmp_path, sources('a.png'), [detection()])
    annotations = json.loads(path.read_text())['annotations']
    for annotation, mask in zip(annotations, detection().masks, strict=True):
        (polygon,) = annotation['segmentation']
        x1, y1, x2, y2 = np.argwhere(mask)[[0, -1]][:, ::-1].ravel()
        assert np.ptp(polygon[::2]) == pytest.approx(x2 - x1, abs=1)
        assert np.ptp(polygon[1::2]) == pytest.approx(y2 - y1, abs=1)
        runs = coco_masks.frPyObjects([polygon], HEIGHT, WIDTH)
        drawn = coco_masks.decode(runs)[..., 0].astype(bool)
        filled = np.zeros_like(mask)
        filled[y1 : y2 + 1, x1 : x2 + 1] = True
        grown = cv2.dilate(drawn.astype(np.uint8), np.ones((3, 3)))
        assert not (drawn & ~filled).any()
        assert not (filled & ~grown.astype(bool)).any()


def test_a_segmentation_is_coco_json_of_one_mask_a_class(tmp_path, sources):
    (path,) = save(['coco'], tmp_path, sources('a.png'), [segmentation()], 'segmentation')
    annotations = json.loads(path.read_text())['annotations']
    assert [entry['category_id'] for entry in annotations] == [1, 3]
    assert [entry['area'] for entry in annotations] == [32 * HEIGHT, 32 * HEIGHT]


def test_label_maps_are_indexed_png_with_the_colours_of_the_legend(tmp_path, sources):
    images = sources('deep/a.jpg', 'deep/a.png', 'b.png')
    labels, legend = save(['png'], tmp_path, images, [segmentation()] * 3, 'segmentation')
    found = sorted(str(path.relative_to(labels)) for path in labels.rglob('*.*'))
    assert found == ['b.png', 'deep/a.jpg.png', 'deep/a.png']
    image = Image.open(labels / 'b.png')
    assert image.mode == 'P'
    assert np.array_equal(np.array(image), segmentation().label_map)
    assert np.array_equal(np.array(image.convert('RGB'))[0, [0, -1]], PALETTE[[0, 2]])
    rows = list(csv.reader(legend.open(newline='')))
    assert rows == [
        ['index', 'name', 'color'],
        ['0', 'bolt', '#ff0000'],
        ['1', 'nut, washer', '#00ff00'],
        ['2', 'Käfer', '#0000ff'],
    ]


@pytest.mark.parametrize('count', [256, 257, 1000])
def test_label_maps_of_many_classes_keep_every_value(tmp_path, sources, count):
    classes = tuple(f'class {index}' for index in range(count))
    palette = np.zeros((count, 3), np.uint8)
    result = segmentation(classes, palette)
    labels, _ = save(
        ['png'], tmp_path, sources('a.png'), [result], 'segmentation', classes, palette
    )
    for read in (np.array(Image.open(labels / 'a.png')), cv2.imread(str(labels / 'a.png'), -1)):
        if count > 256 or read.ndim == 2:  # OpenCV gives a palette's colours
            assert np.array_equal(read, result.label_map)


def test_a_table_has_a_line_for_each_object(tmp_path, sources):
    (path,) = save(['csv'], tmp_path, sources('a.png', 'b.png'), [detection(), detection(0)])
    rows = list(csv.reader(path.open(newline='')))
    assert rows[0] == [
        *('file', 'frame', 'class', 'score', 'x1', 'y1', 'x2', 'y2', 'mask_area'),
    ]
    assert rows[1:] == [
        ['a.png', '', 'nut, washer', '0.9000', '4.00', '6.00', '20.00', '30.00', '368'],
        ['a.png', '', 'Käfer', '0.4000', '30.00', '10.00', '60.00', '40.00', '884'],
    ]


def test_a_table_of_a_segmentation_has_the_share_of_each_class(tmp_path, sources):
    (path,) = save(['csv'], tmp_path, sources('a.png'), [segmentation()], 'segmentation')
    assert list(csv.reader(path.open(newline='')))[1:] == [
        ['a.png', '', 'bolt', '1536', '0.500000'],
        ['a.png', '', 'Käfer', '1536', '0.500000'],
    ]


def test_names_of_any_bytes_leave_every_file_readable(tmp_path, sources):
    odd = [os.fsdecode(b'\xff.png'), 'new\nline.png', '-x.png', 'x' * 251 + '.png', '=1+1.png']
    images = sources(*odd)
    drawn, coco, table = save(['image', 'coco', 'csv'], tmp_path, images, [detection()] * 5)
    assert {path.name for path in drawn.iterdir()} == set(odd)
    read = json.loads(coco.read_text())
    assert [image['file_name'] for image in read['images']] == odd
    rows = list(csv.reader(table.open(newline='', encoding='utf-8')))
    assert [row[0] for row in rows[1::2]] == ['\\udcff.png', *odd[1:]]


def test_drawn_images_keep_their_folders_and_never_share_a_name(tmp_path, sources):
    images = sources('a.jpg', 'a.png', 'a.tif', 'deep/a.jpg')
    (drawn,) = save(['image'], tmp_path, images, [detection()] * 4)
    found = {str(path.relative_to(drawn)): path for path in drawn.rglob('*.*')}
    assert set(found) == {'a.jpg', 'a.png', 'a.tif.png', 'deep/a.jpg'}
    for name, path in found.items():
        image = Image.open(path)
        assert image.format == ('JPEG' if name.endswith('.jpg') else 'PNG')
        assert image.width / image.height == WIDTH / HEIGHT  # small ones are drawn enlarged
        assert np.ptp(np.array(image)) > 50  # something is drawn on the plain ground


def test_a_video_is_drawn_as_a_video_of_the_same_rate_and_length(tmp_path):
    clips = [Source(tmp_path / name, name) for name in ('clip.avi', 'deep/clip.mp4', 'clip.mp4')]
    items = [item for clip in clips for item in frames(clip, 12, rate=12.5)]
    paths = save(['image', 'csv', 'coco'], tmp_path, items, [detection()] * len(items))
    videos, table, coco = paths
    found = sorted(str(path.relative_to(videos)) for path in videos.rglob('*.*'))
    assert found == ['clip.avi.mp4', 'clip.mp4', 'deep/clip.mp4']
    for path in found:
        video = Video(videos / path)
        assert (video.rate, video.frames) == (12.5, 12)
        (size,) = {frame.shape for frame in video}
        assert size[1] / size[0] == WIDTH / HEIGHT
    rows = list(csv.reader(table.open(newline='')))
    assert rows[-1][:2] == ['clip.mp4', '11']
    assert json.loads(coco.read_text())['images'][13]['file_name'] == (
        'deep/clip.mp4/frame_000001.png'
    )


def test_frames_of_a_video_get_label_maps_of_their_own(tmp_path):
    items = list(frames(Source(tmp_path / 'clip.mp4', 'clip.mp4'), 2))
    labels, _ = save(['png'], tmp_path, items, [segmentation()] * 2, 'segmentation')
    assert sorted(path.name for path in (labels / 'clip.mp4').iterdir()) == [
        'frame_000000.png',
        'frame_000001.png',
    ]


def test_an_error_leaves_what_stood_there_before(tmp_path, sources):
    images = sources('a.png')
    kinds = ['coco', 'prelabels', 'csv']
    before = {path: path.read_bytes() for path in save(kinds, tmp_path, images, [detection()])}
    video = tmp_path / 'videos' / 'clip.mp4'

    def cut_short():
        yield detection()
        yield detection()
        raise ZeroDivisionError

    clip = frames(Source(tmp_path / 'clip.mp4', 'clip.mp4'), 5)
    with pytest.raises(ZeroDivisionError):
        save([*kinds, 'image'], tmp_path, clip, cut_short())
    assert {path: path.read_bytes() for path in before} == before
    assert not video.exists()
    assert not list(tmp_path.rglob('*.partial*'))


def test_memory_does_not_grow_with_the_images(tmp_path):
    import tracemalloc

    result = detection()
    sources = [Source(Path(f'{number}.png'), f'{number}.png') for number in range(3000)]
    (saver,) = make_savers(['coco'], tmp_path, sources, CLASSES, PALETTE, 'detection')
    with saver:
        for number, source in enumerate(sources):
            if number == 100:
                tracemalloc.start()
            saver.write(Item(source), saver.prepare(Item(source), result))
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert held < 100_000
    assert len(json.loads(saver.paths[0].read_text())['annotations']) == 6000


def test_a_detector_is_not_asked_for_label_maps(tmp_path):
    with pytest.raises(InputError, match='--save png: a detector'):
        make_savers(['png'], tmp_path, [], CLASSES, PALETTE, 'detection')


def test_the_command_line_knows_every_kind(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[3] / 'tools')
    assert set(importlib.import_module('predict').SAVE) == set(KINDS)


@pytest.mark.parametrize(
    'content', [b'', b'#EXTM3U\n#EXTINF:1,\n/etc/passwd\n', b'ffconcat version']
)
def test_what_is_no_video_is_not_given_to_a_decoder(tmp_path, content):
    path = tmp_path / 'clip.mp4'
    path.write_bytes(content)
    with pytest.raises(InputError, match='no video in MP4'):
        Video(path)


@pytest.mark.parametrize(
    'name', [b'100%d.mp4', b'\xff.mp4', b'new\nline.mp4', b'-i.mp4', b'http:.mp4']
)
def test_a_video_of_any_name_is_read_and_written(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = Path(os.fsdecode(name))
    video = VideoFile(path, 10.0)
    for item in frames(None, 3):
        video.write(item.pixels)
    video.finish()
    assert sum(1 for _ in Video(path)) == 3


def test_a_damaged_video_is_refused_or_stops_short(tmp_path):
    path = tmp_path / 'clip.mp4'
    video = VideoFile(path, 10.0)
    for item in frames(None, 40):
        video.write(item.pixels)
    video.finish()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])  # without its index, which is at the end
    with pytest.raises(InputError, match='cannot be decoded'):
        Video(path)
    assert not Video.lacks.__get__(_video_of(frames=40, rate=10.0))(31)
    assert Video.lacks.__get__(_video_of(frames=40, rate=10.0))(29)


def _video_of(**attributes):
    video = object.__new__(Video)
    video.__dict__.update(attributes)
    return video
