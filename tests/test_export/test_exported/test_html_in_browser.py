"""The page of an exported model, in Chromium with the network off; screenshots stay in build/."""

import base64
import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from browser import Window, needs_browser
from onnx import numpy_helper
from PIL import Image
from pycocotools import mask as coco_masks

from mmvision_mamba import Predictor
from mmvision_mamba.errors import InputError
from mmvision_mamba.export.html.page import write_page
from mmvision_mamba.export.html.runtime import find_runtime
from mmvision_mamba.standalone.description import Resize
from mmvision_mamba.standalone.images import resized_size

pytestmark = [pytest.mark.slow, needs_browser]
SITE = Path(__file__).parents[3] / 'mmvision_mamba' / 'export' / 'html' / 'site'
STRANGE = '</script><img src=x onerror=document.title=1><!--<script>'
RESIZE = """
const [size, pixels, resize] = arguments;
const image = {size, pixels: Uint8Array.from(pixels)};
const resized = resizeImage(image, resizedSize(size, resize), resize.interpolation);
return {...resized, pixels: [...resized.pixels]};
"""


class Reader(Window):
    """Somebody before a page."""

    def open(self, path: Path, fragment: str = '') -> None:
        """Open a page; one that is open already has its controls set back, as that is sooner."""
        if self.browser.current_url.partition('#')[0] != path.as_uri():
            self.browser.get(f'{path.as_uri()}{fragment}')
            self.wait(lambda: self.state != 'busy', 'the model', 60)
        self.browser.execute_script(
            'for (const control of document.querySelectorAll("#controls input")) {'
            '  control.value = control.defaultValue;'
            '  control.checked = control.defaultChecked;'
            '  control.dispatchEvent(new Event("input", {bubbles: true}));'
            '}'
        )

    @property
    def status(self) -> str:
        return self.find('#status').text

    @property
    def state(self) -> str:
        return self.find('#status').get_attribute('data-state')

    def choose(self, path: Path) -> str:
        """What the page says of an image."""
        self.find('#file').send_keys(str(path))
        self.wait(lambda: path.name in self.status and self.state != 'busy', 'a result', 60)
        return self.status

    def drop(self, path: Path) -> None:
        """As if dragged onto the page by a mouse."""
        content = base64.b64encode(path.read_bytes()).decode()
        self.browser.execute_script(
            'const [content, name] = arguments;'
            'const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));'
            'const dataTransfer = new DataTransfer();'
            'dataTransfer.items.add(new File([bytes], name));'
            'document.body.dispatchEvent('
            '  new DragEvent("drop", {dataTransfer, bubbles: true, cancelable: true}));',
            content,
            path.name,
        )
        self.wait(lambda: path.name in self.status and self.state != 'busy', 'a result', 60)

    def set(self, name: str, value: str) -> None:
        """Move a slider."""
        self.browser.execute_script(
            'arguments[0].value = arguments[1];'
            'arguments[0].dispatchEvent(new Event("input", {bubbles: true}))',
            self.find(f'#{name}'),
            value,
        )

    def rows(self) -> list[list[str]]:
        return self.browser.execute_script(
            'return [...document.querySelectorAll("tbody tr")]'
            '.map((row) => [...row.cells].map((cell) => cell.textContent))'
        )

    def drawn(self) -> np.ndarray:
        text = self.browser.execute_script('return document.querySelector("canvas").toDataURL()')
        encoded = np.frombuffer(base64.b64decode(text.partition(',')[2]), np.uint8)
        return cv2.imdecode(encoded, cv2.IMREAD_COLOR)

    def verified(self) -> str:
        said = self.find('#verified')
        self.wait(lambda: said.get_attribute('data-state') in ('done', 'failed'), 'a check')
        return said.text


@pytest.fixture(scope='session')
def runtime():
    try:
        return find_runtime()
    except InputError as error:
        pytest.skip(f'no page is made: {error}')


@pytest.fixture(scope='module')
def reader(tmp_path_factory):
    reader = Reader(tmp_path_factory.mktemp('downloads'))
    offline = dict(offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
    reader.browser.execute_cdp_cmd('Network.enable', {})
    reader.browser.execute_cdp_cmd('Network.emulateNetworkConditions', offline)
    yield reader
    reader.browser.quit()


@pytest.fixture(scope='module')
def pages(detector, segmentor, runtime, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp('pages')
    paths = {}
    for name, model in (('detector', detector), ('segmentor', segmentor)):
        paths[name] = folder / f'{name}.html'
        size = write_page(paths[name], model.folder, runtime)
        assert size == paths[name].stat().st_size
    return paths


@pytest.fixture(scope='module')
def images(shapes_data, tmp_path_factory) -> dict[str, Path]:
    """Of every kind that is decoded to the very same pixels by all, and what is no image."""
    folder = tmp_path_factory.mktemp('images')
    first, second, *_ = sorted((shapes_data / 'shapes' / 'coco' / 'val2017').iterdir())
    paths = {name: folder / f'{name}.png' for name in ('plain', 'turned', 'clear', 'text')}
    image = Image.open(first).convert('RGB')
    image.resize((211, 163)).save(paths['plain'])
    turned = Image.open(second).convert('RGB')
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(paths['turned'], exif=exif)
    clear = image.convert('RGBA')
    clear.putalpha(Image.new('L', image.size, 0))
    clear.paste(image, (20, 30), Image.new('L', image.size, 255))
    clear.save(paths['clear'])
    paths['text'].write_text('I am no image')
    return paths | {'photo': first}


def assert_same_objects(document: dict, expected) -> None:
    expected = expected.above(0.3)
    assert len(document['annotations']) == len(expected) > 2
    for place, found in enumerate(document['annotations']):
        box = expected.boxes[place].astype(float)
        box[2:] -= box[:2]
        assert found['category_id'] == expected.labels[place] + 1
        assert found['score'] == pytest.approx(expected.scores[place], abs=1e-4)
        np.testing.assert_allclose(found['bbox'], box, atol=0.01)
        mask = coco_masks.decode(found['segmentation'])
        assert mask.sum() == found['area']
        assert (mask != expected.masks[place]).mean() < 1e-3


def test_a_detectors_page_finds_what_python_finds(reader, pages, detector, images):
    reader.open(pages['detector'])
    assert reader.status == 'Ready.'
    predictor = Predictor(detector.folder, device='cpu')
    for name in ('plain', 'turned', 'clear'):
        expected = predictor(images[name])
        height, width = expected.image_size
        assert f'{name}.png, {width} × {height}, in ' in reader.choose(images[name])
        document = json.loads(reader.download('save-result').read_text())
        assert document['images'][0] == dict(
            id=1, file_name=f'{name}.png', width=width, height=height
        )
        assert_same_objects(document, expected)
    assert reader.asked_hosts() == {None}  # files alone


def test_a_dropped_photo_is_drawn_as_the_controls_say(reader, pages, images):
    reader.open(pages['detector'])
    reader.drop(images['photo'])
    rows = reader.rows()
    scores = [float(row[1]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert len(rows) == int(reader.status.split()[0]) > 3
    reader.screenshot('page_detector')
    drawings = [reader.drawn()]
    for change in (('boxes',), ('labels',), ('opacity', '0.9'), ('masks',)):
        if len(change) == 2:
            reader.set(*change)
        else:
            reader.find(f'#{change[0]}').click()
        reader.wait(lambda: (reader.drawn() != drawings[-1]).any(), 'another drawing')
        drawings.append(reader.drawn())
    bare = cv2.resize(cv2.imread(str(images['photo'])), drawings[-1].shape[1::-1])
    assert np.abs(bare.astype(int) - drawings[-1]).mean() < 5  # nothing is left to be drawn
    middle = f'{(scores[0] + scores[-1]) / 2:.2f}'
    reader.set('score', middle)
    fewer = reader.wait(lambda: len(reader.rows()) < len(rows) and reader.rows(), 'fewer rows')
    assert fewer == rows[: len(fewer)]
    assert float(fewer[-1][1]) >= float(middle) >= float(rows[len(fewer)][1])
    reader.set('score', '1')
    reader.wait_for_status('No object of this score')
    assert not reader.rows()


def test_what_is_no_image_gets_a_sentence_and_the_next_image_an_answer(reader, pages, images):
    reader.open(pages['detector'])
    reader.choose(images['plain'])
    said = reader.choose(images['text'])
    assert said == (
        'text.png cannot be used: it is not an image that this browser can read, or it is damaged.'
    )
    assert reader.state == 'failed'
    assert not reader.rows()
    assert not reader.find('canvas').is_displayed()
    assert not reader.find('#save-image').is_enabled()
    reader.screenshot('page_refused')
    assert 'objects in plain.png' in reader.choose(images['plain'])


def test_a_narrow_window_shows_all_below_each_other(reader, pages, images):
    reader.open(pages['detector'])
    reader.choose(images['photo'])
    try:
        reader.resize(390, 1500)
        reader.screenshot('page_narrow')
        wide = reader.browser.execute_script('return document.documentElement.scrollWidth')
        assert wide <= 390
        lefts = {reader.find(f'#{name}').location['x'] for name in ('place', 'status', 'controls')}
        assert len(lefts) == 1
    finally:
        reader.resize(1400, 1250)


def test_a_detectors_page_verifies_itself_when_asked_by_its_button(reader, pages):
    reader.open(pages['detector'])
    reader.click('#verify')
    assert reader.verified() == (
        'verified: resized, input, stage2, stage3, stage4, neck1, neck2, neck3, rpn1, rpn2, rpn3, '
        'result'
    )


def test_a_segmentors_page_verifies_itself_when_asked_by_its_address(reader, pages):
    reader.open(pages['segmentor'], '#verify')
    assert reader.verified() == (
        'verified: resized, input, stage1, stage2, stage3, stage4, logits, result'
    )


def test_a_segmentors_page_gives_the_label_map_that_python_gives(reader, pages, segmentor, images):
    reader.open(pages['segmentor'])
    assert not reader.find('#score').is_displayed()
    predictor = Predictor(segmentor.folder, device='cpu')
    for name in ('plain', 'turned', 'clear'):
        expected = predictor(images[name]).label_map
        reader.choose(images[name])
        label_map = np.array(Image.open(reader.download('save-result')))
        assert label_map.shape == expected.shape
        assert (label_map != expected).mean() < 1e-3
        areas = [int(row[2].replace(',', '')) for row in reader.rows()]
        counts = np.sort(np.bincount(label_map.ravel()))[::-1]
        assert areas == counts[: len(areas)].tolist()
        assert sum(areas) == label_map.size
    reader.screenshot('page_segmentor')
    assert reader.asked_hosts() == {None}


def test_a_page_lets_nothing_out_and_runs_no_script_of_others(reader, pages):
    reader.open(pages['segmentor'])
    refused = reader.browser.execute_async_script(
        'const done = arguments[0];'
        'const script = document.createElement("script");'
        'script.textContent = "document.title = 1";'
        'document.body.append(script);'
        'fetch("http://127.0.0.1:9/").then(() => done(""), (error) => done(String(error)))'
    )
    assert 'Failed to fetch' in refused
    assert reader.browser.title == 'small'
    entries = [entry['message'] for entry in reader.browser.get_log('browser')]
    assert sum('Content Security Policy' in entry for entry in entries) >= 2


def change_weight(folder: Path) -> None:
    """Change one number of a convolution behind the map of stage 2."""
    path = folder / 'model.onnx'
    model = onnx.load(path)
    nodes = iter(model.graph.node)
    next(node for node in nodes if 'stage2' in node.output)
    convolution = next(node for node in nodes if node.op_type == 'Conv')
    [weight] = [w for w in model.graph.initializer if w.name == convolution.input[1]]
    values = numpy_helper.to_array(weight).copy()
    values.flat[0] += 0.1
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    path.write_bytes(model.SerializeToString())


def swap_outputs(folder: Path) -> None:
    """Have the network label each pixel by its least probable class."""
    path = folder / 'model.onnx'
    model = onnx.load(path)
    [last] = [node for node in model.graph.node if node.op_type == 'ArgMax']
    last.op_type = 'ArgMin'
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(('named', 'change'), [('stage3', change_weight), ('result', swap_outputs)])
def test_what_was_changed_in_a_model_is_named_by_its_page(
    reader, copied, runtime, tmp_path, named, change
):
    change(copied)
    write_page(tmp_path / 'changed.html', copied, runtime)
    reader.open(tmp_path / 'changed.html', '#verify')
    assert reader.verified().startswith(f'{named} deviates: ')
    assert reader.find('#verified').get_attribute('data-state') == 'failed'


def test_what_a_stranger_calls_things_is_text(reader, copied, runtime, images, tmp_path):
    description = json.loads((copied / 'model.json').read_text())
    description['classes'] = [f'{STRANGE}{number}' for number in range(8)]
    description['source'] = STRANGE
    description['software'] = {STRANGE: STRANGE}
    description['preprocessing']['channel_order'] = 'BGR'  # which is found out too
    (copied / 'model.json').write_text(json.dumps(description))
    write_page(tmp_path / 'strange.html', copied, runtime)
    reader.open(tmp_path / 'strange.html', '#verify')
    reader.choose(images['photo'])
    assert {name[:-1] for name, *_ in reader.rows()} == {STRANGE}
    assert reader.browser.title == reader.find('h1').text == STRANGE
    assert not reader.all('img')
    assert reader.verified().startswith('input deviates: ')


def test_a_model_that_is_damaged_is_said_to_be(reader, copied, runtime, images, tmp_path):
    network = (copied / 'model.onnx').read_bytes()
    (copied / 'model.onnx').write_bytes(network.replace(b'Resize', b'Rosize'))
    write_page(tmp_path / 'damaged.html', copied, runtime)
    reader.open(tmp_path / 'damaged.html')
    assert reader.status.startswith('The model cannot be loaded: ')
    assert reader.state == 'failed'
    assert 'the model is not loaded' in reader.choose(images['plain'])


@pytest.mark.parametrize(
    ('scale', 'keep_ratio', 'interpolation'),
    [
        ([80, 60], True, 'bilinear'),
        ([33, 47], False, 'bilinear'),
        ([200, 141], False, 'bilinear'),
        ([37, 53], False, 'nearest'),
        (0.5, False, 'bilinear'),
        (1.7, False, 'bilinear'),
    ],
)
def test_images_are_resized_to_the_very_values_of_opencv(reader, scale, keep_ratio, interpolation):
    resize = Resize(scale, keep_ratio, interpolation)
    rng = np.random.default_rng(0)
    for size in ((90, 64), (35, 121)):
        image = rng.integers(0, 256, (*size, 3), np.uint8)
        found = reader.browser.execute_script(
            (SITE / 'images.js').read_text() + RESIZE, size, image.ravel().tolist(), vars(resize)
        )
        height, width = resized_size(size, resize)
        assert found['size'] == [height, width]
        method = dict(bilinear=cv2.INTER_LINEAR, nearest=cv2.INTER_NEAREST)[interpolation]
        expected = cv2.resize(image, (width, height), interpolation=method)
        assert np.array_equal(np.reshape(found['pixels'], expected.shape), expected)
