"""The page as visitors use it, in Chromium; screenshots of it stay in build/screenshots."""

import json
from itertools import pairwise

import cv2
import numpy as np
import pytest
from PIL import Image
from visitor import Visitor, needs_browser

from mmvision_mamba.serve.views import Look

DETECTOR, SEGMENTOR = 'mask_rcnn_mambavision_demo_shapes', 'upernet_mambaout_demo_shapes'

pytestmark = [pytest.mark.slow, needs_browser]


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
    shown = 'const video = document.querySelector("#image video"); return video.readyState > 2'
    visitor.wait(lambda: visitor.browser.execute_script(shown), 'what the camera sees')
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
    severe = [e['message'] for e in visitor.browser.get_log('browser') if e['level'] == 'SEVERE']
    # Gradio logs its own closing of a stream so, if that comes in the midst of an answer.
    assert not [message for message in severe if 'AbortError' not in message]


def test_what_the_controls_show_at_first_is_what_is_drawn(visitor, models):
    look = Look()
    assert float(visitor.find('#score input[type=number]').get_attribute('value')) == look.score
    assert float(visitor.find('#opacity input[type=number]').get_attribute('value')) == look.opacity
    for name in ('boxes', 'masks', 'labels'):
        assert visitor.find(f'#{name} input').is_selected() == getattr(look, name)
