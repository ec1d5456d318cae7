"""The page as visitors use it, in Chromium; screenshots of it stay in build/screenshots."""

import json
import shutil
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from PIL import Image

from mmvision_mamba.serve.views import Look

webdriver = pytest.importorskip('selenium.webdriver', reason='Selenium is not installed')
from selenium.common.exceptions import (  # noqa: E402
    NoSuchElementException,
    StaleElementReferenceException,
)
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

NAMES = ('chromium', 'chromium-browser', 'google-chrome')
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
DRIVER = shutil.which('chromedriver')
SCREENSHOTS = Path(__file__).parents[2] / 'build' / 'screenshots'
DETECTOR, SEGMENTOR = 'mask_rcnn_mambavision_demo_shapes', 'upernet_mambaout_demo_shapes'

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (BROWSER and DRIVER),
        reason='no browser: the page is tested in Chromium (apt-get install chromium '
        'chromium-driver)',
    ),
]


class Visitor:
    """Somebody before a window of the browser."""

    def __init__(self, url: str, downloads: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = BROWSER
        for argument in (
            '--headless=new',
            '--no-sandbox',  # root has none
            '--disable-dev-shm-usage',
            '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',  # as without a network
            '--use-fake-device-for-media-stream',
            '--use-fake-ui-for-media-stream',
        ):
            options.add_argument(argument)
        options.add_experimental_option('prefs', {'download.default_directory': str(downloads)})
        options.set_capability('goog:loggingPrefs', dict(performance='ALL', browser='ALL'))
        self.browser = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
        self.url = url
        self.downloads = downloads
        self.resize(1400, 1250)

    def resize(self, width: int, height: int) -> None:
        size = dict(width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', size)

    def open(self) -> None:
        """Open the page anew."""
        self.browser.get(self.url)
        self.wait(lambda: self.find('#status p').is_displayed(), 'the page')

    def find(self, selector: str):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def wait(self, condition: Callable[[], object], what: str, seconds: float = 30):
        """What ``condition`` returns, once that is something."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                found = condition()
            except (NoSuchElementException, StaleElementReferenceException):
                found = None
            if found:
                return found
            time.sleep(0.05)
        self.screenshot('failed')
        raise AssertionError(f'{what} did not come; the page says {self.status!r}')

    def click(self, selector: str) -> None:
        self.wait(lambda: self.find(selector), selector).click()

    @property
    def status(self) -> str:
        return self.find('#status p').text

    def wait_for_status(self, part: str) -> str:
        return self.wait(lambda: part in self.status and self.status, f'"{part}"')

    def upload(self, path: Path) -> None:
        for button in self.all('#image button[aria-label="Remove Image"]'):
            button.click()
            self.wait_for_status('Drop an image')
        chooser = self.wait(lambda: self.find('#image input[type=file]'), 'the chooser of files')
        chooser.send_keys(str(path))

    def choose_model(self, name: str) -> None:
        self.find('#model input').click()
        self.click(f'[role=option][aria-label="{name}"]')

    def slide(self, name: str, value: str) -> None:
        number = self.find(f'#{name} input[type=number]')
        number.send_keys(Keys.CONTROL, 'a')
        number.send_keys(value, Keys.TAB)

    def toggle(self, name: str) -> None:
        self.find(f'#{name} input[type=checkbox]').click()

    def drawn(self) -> np.ndarray:
        """What is shown of the result, as the server sent it."""
        encoded = self.browser.execute_async_script(
            'const done = arguments[1];'
            'fetch(arguments[0]).then(answer => answer.arrayBuffer())'
            '.then(buffer => done(Array.from(new Uint8Array(buffer))))',
            self.wait(lambda: self.find('#drawn img').get_attribute('src'), 'the drawn image'),
        )
        return cv2.imdecode(np.array(encoded, np.uint8), cv2.IMREAD_COLOR)

    def drawn_after(self, change: Callable[..., None], *arguments) -> np.ndarray:
        """The drawn image, once a change has made it another one."""
        before = self.find('#drawn img').get_attribute('src')
        change(*arguments)
        self.wait(lambda: self.find('#drawn img').get_attribute('src') != before, 'another drawing')
        return self.drawn()

    def rows(self) -> list[list[str]]:
        """The texts of the table."""
        rows = self.all('#table .virtual-row')
        cells = [row.find_elements(By.CSS_SELECTOR, '[role=gridcell]') for row in rows]
        return [[cell.text.strip() for cell in row] for row in cells]

    def middle_score(self) -> str:
        """One that some of the listed detections have, and others have not."""
        scores = [float(row[1]) for row in self.rows()]
        return f'{(scores[0] + scores[-1]) / 2:.2f}'

    def download(self, button: str) -> Path:
        before = set(self.downloads.iterdir())

        def new():
            paths = set(self.downloads.iterdir()) - before
            return [path for path in paths if path.suffix in ('.png', '.json')]

        self.find(f'#{button}').click()
        return self.wait(new, 'the file')[0]

    def screenshot(self, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.browser.save_screenshot(str(SCREENSHOTS / f'{name}.png'))

    def asked_hosts(self) -> set[str]:
        """Hosts of all addresses that the browser has asked for since the last time."""
        entries = self.browser.get_log('performance')
        messages = [json.loads(entry['message'])['message'] for entry in entries]
        sent = [m['params'] for m in messages if m['method'] == 'Network.requestWillBeSent']
        urls = [urlsplit(params['request']['url']) for params in sent]
        return {url.hostname for url in urls if url.scheme not in ('data', 'blob')}


@pytest.fixture(scope='module')
def visitors(served_page, tmp_path_factory):
    """Two of them."""
    both = []
    try:
        for number in range(2):
            both.append(Visitor(served_page.url, tmp_path_factory.mktemp(f'downloads{number}')))
        yield both
    finally:
        for visitor in both:
            visitor.browser.quit()


@pytest.fixture
def visitor(visitors, models):
    """Somebody who has just come, and the models, which have computed nothing yet."""
    visitors[0].resize(1400, 1250)
    visitors[0].open()
    return visitors[0]


def test_an_image_that_is_uploaded_is_answered(visitor, models, images):
    assert visitor.status == 'Drop an image, take one by the webcam, or choose an example.'
    assert not visitor.rows()
    assert not visitor.all('#image-png')
    visitor.screenshot('empty')
    visitor.upload(images['image'])
    width, height = Image.open(images['image']).size
    status = visitor.wait_for_status('with a score of 0.30 or more')
    assert f'{width} × {height} pixels' in status
    assert len(visitor.rows()) == int(status.split()[0])
    assert all(float(score) >= 0.3 for _, score, *_ in visitor.rows())
    visitor.drawn()
    visitor.screenshot('detection')
    assert models[0].calls == 1


def test_a_score_is_raised_and_lowered_without_computing_again(visitor, models, images):
    visitor.upload(images['image'])
    visitor.wait_for_status('with a score of 0.30')
    rows = visitor.rows()
    visitor.slide('score', middle := visitor.middle_score())
    visitor.wait_for_status(f'with a score of {middle}')
    assert visitor.rows() == [row for row in rows if float(row[1]) >= float(middle)]
    assert 0 < len(visitor.rows()) < len(rows)
    visitor.slide('score', '1')
    visitor.wait_for_status('No object has a score of 1.00 or more: the best, ')
    assert not visitor.rows()
    visitor.slide('score', '0.3')
    visitor.wait_for_status('with a score of 0.30')
    assert visitor.rows() == rows
    assert models[0].calls == 1


def test_what_is_drawn_is_chosen_without_computing_again(visitor, models, images):
    visitor.upload(images['image'])
    visitor.wait_for_status('with a score')
    drawings = [visitor.drawn()]
    for change in (('boxes',), ('labels',), ('opacity', '0.9'), ('masks',)):
        method = visitor.slide if len(change) == 2 else visitor.toggle
        drawings.append(visitor.drawn_after(method, *change))
    for before, after in pairwise(drawings):
        assert before.shape != after.shape or (before != after).any()
    bare = cv2.resize(cv2.imread(str(images['image'])), drawings[-1].shape[1::-1])
    assert np.abs(bare.astype(int) - drawings[-1]).mean() < 5  # nothing is left to be drawn
    assert models[0].calls == 1


def test_a_detectors_files_are_downloaded(visitor, models, images):
    visitor.upload(images['image'])
    count = int(visitor.wait_for_status('with a score').split()[0])
    drawn = visitor.download('image-png')
    assert drawn.name == f'{images["image"].stem}-image.png'
    assert Image.open(drawn).size == visitor.drawn().shape[1::-1]
    document = json.loads(visitor.download('coco-json').read_text())
    assert len(document['annotations']) == count
    visitor.slide('score', middle := visitor.middle_score())
    fewer = int(visitor.wait_for_status(f'with a score of {middle}').split()[0])
    document = json.loads(visitor.download('coco-json').read_text())
    assert len(document['annotations']) == fewer < count
    assert not visitor.all('#label_map-png')
    assert models[0].calls == 1


def test_a_segmentor_shows_the_area_of_each_class_and_gives_its_label_map(visitor, models, images):
    visitor.choose_model(SEGMENTOR)
    visitor.wait(lambda: not visitor.all('#score'), 'controls of a segmentor')
    assert not visitor.all('#boxes')
    visitor.upload(images['image'])
    width, height = Image.open(images['image']).size
    status = visitor.wait_for_status('class')
    rows = visitor.rows()
    assert len(rows) == int(status.split()[0])
    assert sum(int(area) for *_, area in rows) == width * height
    label_map = np.array(Image.open(visitor.download('label_map-png')))
    assert label_map.shape == (height, width)
    pixels = np.sort(np.bincount(label_map.ravel()))[::-1]
    assert [int(area) for *_, area in rows] == pixels[: len(rows)].tolist()
    visitor.screenshot('segmentation')
    visitor.choose_model(DETECTOR)
    visitor.wait_for_status('with a score')
    assert (models[0].calls, models[1].calls) == (1, 1)


@pytest.mark.parametrize(
    ('name', 'said'),
    [
        ('text', 'This file is not an image that can be read here'),
        ('large', 'This image has 1501 × 2000 pixels: at most 3 million'),
    ],
)
def test_what_is_no_image_or_too_large_gets_a_sentence(visitor, models, images, name, said):
    visitor.upload(images['image'])
    visitor.wait_for_status('with a score')
    visitor.upload(images[name])
    visitor.wait_for_status(said)
    assert not visitor.rows()
    assert not visitor.all('#drawn img')
    assert not visitor.all('#image-png')
    visitor.screenshot(f'refused_{name}')
    assert models[0].calls == 1


def test_a_file_of_too_many_bytes_is_not_sent(visitor, models, images):
    visitor.upload(images['heavy'])
    visitor.wait(lambda: 'size' in visitor.find('.toast-wrap, [role=alert]').text, 'a message')
    assert not models[0].calls


def test_an_example_is_answered(visitor, models):
    visitor.wait(lambda: len(visitor.all('.gallery-item')) == 6, 'six examples')
    visitor.all('.gallery-item')[1].click()
    visitor.wait_for_status('pixels')
    assert models[0].calls == 1


def test_an_image_of_the_webcam_is_answered(visitor, models):
    visitor.click('#image button[aria-label="Capture from camera"]')
    visitor.click('#image [title="grant webcam access"]')
    visitor.click('#image button[aria-label="capture photo"]')
    visitor.wait_for_status('pixels')
    assert models[0].calls == 1


def test_of_two_visitors_at_once_the_second_sees_its_place_and_each_has_its_own(
    visitors, visitor, models, images
):
    other = visitors[1]
    other.open()
    models[0].hold()
    visitor.upload(images['image'])
    visitor.wait(lambda: models[0].running, 'computing')
    other.upload(images['other'])
    other.wait(lambda: 'queue' in other.find('#drawn').text, 'the place in the queue')
    other.screenshot('waiting')
    models[0].release()
    for each, name in ((visitor, 'image'), (other, 'other')):
        width, height = Image.open(images[name]).size
        each.wait_for_status(f'{width} × {height} pixels')
    assert models[0].calls == 2
    assert models[0].most_running == 1
    first, second = visitor.drawn(), other.drawn()
    assert first.shape != second.shape or (first != second).any()
    visitor.slide('score', '1')
    visitor.wait_for_status('1.00')
    assert 'with a score of 0.30' in other.status


def test_a_result_that_was_let_go_is_said_to_be(visitor, served_page, models, images):
    visitor.upload(images['image'])
    visitor.wait_for_status('with a score')
    for token in list(served_page.page.analyses._kept):
        served_page.page.analyses.let_go(token)
    visitor.toggle('boxes')
    visitor.wait_for_status('This result was let go to make room: send the image again.')


def test_a_class_may_be_called_anything(visitor, models, images):
    visitor.choose_model('stranger')
    visitor.upload(images['image'])
    visitor.wait_for_status('with a score')
    names = {name for name, *_ in visitor.rows()}
    assert names <= {'<img src=x onerror=document.title=1>', '**bold** [a](http://x)', '{{7*7}}'}
    visitor.slide('score', '1')
    assert 'the best, ' in visitor.wait_for_status('No object')
    assert visitor.browser.title == 'MambaVision and MambaOut'


def test_a_narrow_window_shows_all_below_each_other(visitor, models, images):
    visitor.resize(390, 1900)
    visitor.open()
    visitor.upload(images['image'])
    visitor.wait_for_status('with a score')
    visitor.drawn()
    visitor.screenshot('narrow')
    wide = visitor.browser.execute_script('return document.documentElement.scrollWidth')
    assert wide <= 390
    left = {visitor.find(f'#{name}').location['x'] for name in ('image', 'status', 'drawn')}
    assert len(left) == 1


def test_nothing_overlaps_in_a_wide_window(visitor, models, images):
    visitor.upload(images['image'])
    visitor.wait_for_status('with a score')
    names = ('model', 'image', 'status', 'drawn', 'sliders', 'toggles', 'files', 'table')
    boxes = {name: visitor.find(f'#{name}').rect for name in names}
    for one, a in boxes.items():
        for other, b in boxes.items():
            beside = a['x'] + a['width'] <= b['x'] or b['x'] + b['width'] <= a['x']
            below = a['y'] + a['height'] <= b['y'] + 1 or b['y'] + b['height'] <= a['y'] + 1
            assert one == other or beside or below, (one, other)


def test_a_visitors_browser_asks_this_server_alone(visitor, models, images):
    visitor.upload(images['image'])
    visitor.wait_for_status('with a score')
    visitor.toggle('boxes')
    assert visitor.asked_hosts() == {'127.0.0.1'}
    severe = [e for e in visitor.browser.get_log('browser') if e['level'] == 'SEVERE']
    assert not severe


def test_what_the_controls_show_at_first_is_what_is_drawn(visitor, models):
    look = Look()
    assert float(visitor.find('#score input[type=number]').get_attribute('value')) == look.score
    assert float(visitor.find('#opacity input[type=number]').get_attribute('value')) == look.opacity
    for name in ('boxes', 'masks', 'labels'):
        assert visitor.find(f'#{name} input').is_selected() == getattr(look, name)
