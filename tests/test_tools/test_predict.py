"""tools/predict.py, run as a user runs it."""

import csv
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmvision_mamba.inference.files.videos import Video, VideoFile

TOOL = Path(__file__).parents[2] / 'tools' / 'predict.py'
LOW = ('--score', '0.2')  # of an untrained detector, a sixth and a little more


@pytest.fixture(scope='session')
def detector(untrained) -> list[str]:
    config, weights = untrained('mask_rcnn_mambavision_demo_shapes')
    return ['--model', str(config), '--weights', str(weights)]


@pytest.fixture(scope='session')
def segmentor(untrained) -> list[str]:
    config, weights = untrained('upernet_mambaout_demo_shapes')
    return ['--model', str(config), '--weights', str(weights)]


@pytest.fixture
def images(tmp_path, shapes_data) -> Path:
    folder = tmp_path / 'in'
    folder.mkdir()
    for number, path in enumerate(sorted((shapes_data / 'shapes/coco/train2017').iterdir())[:4]):
        shutil.copy(path, folder / f'{number}.jpg')
    return folder


@pytest.fixture
def start(tmp_path):
    """A function that starts the tool, with its output in a pipe."""
    environment = dict(os.environ, OMP_NUM_THREADS='1')
    started = []

    def start(*args, **options) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, TOOL, *args],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def predict(start):
    """A function that runs the tool to its end: exit status, what it said, and its errors."""

    def predict(*args, listing: bytes = b'', **options) -> tuple[int, str, str]:
        process = start(*args, **options)
        output, errors = process.communicate(listing)
        return process.returncode, output.decode(), errors.decode()

    return predict


@pytest.mark.slow
def test_a_folder_of_every_kind_of_file_gives_the_results_of_all_that_are_images(
    predict, detector, images, tmp_path
):
    whole = (images / '1.jpg').read_bytes()
    (images / 'cut.jpg').write_bytes(whole[: len(whole) // 2])
    (images / 'text.png').write_text('no image')
    (images / 'notes.txt').touch()
    os.mkfifo(images / 'pipe.jpg')
    os.symlink('nowhere', images / 'broken.jpg')
    (images / 'deep' / 'x.jpg').mkdir(parents=True)
    os.symlink('..', images / 'deep' / 'back')
    odd = ['new\nline.jpg', os.fsdecode(b'\xff.jpg'), '-x.jpg', 'deep/x.jpg/' + 'y' * 251 + '.jpg']
    for name in odd:
        (images / name).write_bytes(whole)
    video = VideoFile(images / 'deep' / 'clip.mp4', 12.5)
    for _ in range(3):
        video.write(np.array(Image.open(images / '0.jpg')))
    video.finish()

    arguments = [*detector, *LOW, '--recursive', '--save', 'image,coco,csv,prelabels']
    status, said, errors = predict('in', *arguments, '--batch-size', '2')
    assert (status, errors) == (1, '')
    assert 'passed over: image in/cut.jpg cannot be read' in said
    assert 'passed over: in/text.png is not an image' in said
    assert 'Left out: 1 .txt, 1 broken link, 1 pipe or device\n' in said
    assert said.endswith('Passed over: 2 files, named above\n')
    out = tmp_path / 'predictions' / 'mask_rcnn_mambavision_demo_shapes'
    files = {*odd, *(f'{number}.jpg' for number in range(4))}
    drawn = {str(path.relative_to(out / 'images')) for path in (out / 'images').rglob('*.jpg')}
    assert {name for name in drawn if (out / 'images' / name).is_file()} == files
    assert all(np.array(Image.open(out / 'images' / name)).any() for name in files)
    read = json.loads((out / 'predictions.json').read_text())
    names = [image['file_name'] for image in read['images']]
    assert set(names) == files | {f'deep/clip.mp4/frame_00000{number}.png' for number in range(3)}
    sizes = {image['id']: (image['width'], image['height']) for image in read['images']}
    for entry in read['annotations']:
        x, y, width, height = entry['bbox']
        wide, high = sizes[entry['image_id']]
        assert -0.01 <= x <= x + width <= wide + 0.01
        assert -0.01 <= y <= y + height <= high + 0.01
    rows = list(csv.reader((out / 'predictions.csv').open(newline='', encoding='utf-8')))
    assert len(rows) - 1 == len(read['annotations']) > 0
    assert len(json.loads((out / 'prelabels.json').read_text())['annotations']) == len(rows) - 1
    assert Video(out / 'videos' / 'deep' / 'clip.mp4').rate == 12.5


@pytest.mark.slow
def test_a_list_on_standard_input_is_segmented_into_label_maps(
    predict, segmentor, images, tmp_path
):
    listing = b'in/0.jpg\nin/gone.jpg\nin/2.jpg\n'
    status, said, _ = predict('-', *segmentor, '--out', 'results', listing=listing)
    assert status == 1
    assert 'passed over: image in/gone.jpg does not exist' in said
    for name in ('0', '2'):
        labels = Image.open(tmp_path / 'results' / 'labels' / f'{name}.png')
        assert labels.mode == 'P'
        assert labels.size == Image.open(images / f'{name}.jpg').size
        assert np.array(labels).max() < 8
    assert (
        (tmp_path / 'results' / 'legend.csv').read_text().splitlines()[1].startswith('0,circle,#')
    )
    assert sorted(path.name for path in (tmp_path / 'results' / 'images').iterdir()) == [
        '0.jpg',
        '2.jpg',
    ]


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (['in', '--save', 'imgae'], 'imgae is no kind of result; did you mean image?'),
        (['in', '--save', ','], 'names none of image'),
        (['in', '--score', '30'], '30 is not between 0 and 1'),
        (['in', '--batch-size', '0'], '0 is not 1 or more'),
    ],
)
def test_a_mistyped_option_is_answered_at_once(predict, arguments, said):
    status, output, errors = predict(*arguments, '--model', 'any.py')
    assert (status, output) == (2, '')
    assert said in errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (['gone.jpg'], 'error: gone.jpg: no such file or folder\n'),
        (['in/*.bmp'], 'error: no file matches in/*.bmp\n'),
        (['empty'], 'error: no image or video in empty\n'),
        (['in', '--out', 'in'], 'error: in lies in in: give --out a new folder\n'),
        (['in', '--out', 'in/0.jpg/x'], 'cannot be written to; give another --out\n'),
    ],
)
def test_inputs_and_folders_that_will_not_do_are_answered_before_the_model_is_built(
    predict, images, tmp_path, arguments, said
):
    (tmp_path / 'empty').mkdir()
    status, _, errors = predict(*arguments, '--model', 'not_looked_at.py')
    assert status == 2
    assert said in errors
    assert errors.count('\n') == 1


@pytest.mark.slow
def test_options_that_the_model_does_not_have_end_in_a_sentence(
    predict, detector, segmentor, images
):
    for model, arguments, said in (
        (detector, ['--classes', 'cross', 'sqare'], '--classes sqare: no class of '),
        (detector, ['--save', 'png'], '--save png: a detector gives no label maps'),
        (segmentor, ['--score', '0.5'], '--score: a segmentor gives every pixel a class'),
    ):
        status, _, errors = predict('in', *model, *arguments)
        assert status == 2
        assert said in errors
        assert errors.count('\n') == 1
        if 'sqare' in said:
            assert 'did you mean square' in errors


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopped_in_the_middle_it_leaves_whole_files_alone(
    start, predict, detector, images, tmp_path, number
):
    def ignoring_nothing():
        signal.signal(signal.SIGINT, signal.default_int_handler)

    listing = b'\n'.join(b'in/%d.jpg' % i for i in range(400))
    for i in range(4, 400):
        os.link(images / f'{i % 4}.jpg', images / f'{i}.jpg')
    arguments = ('-', *detector, *LOW, '--out', 'results', '--save', 'image,coco,csv')
    process = start(*arguments, preexec_fn=ignoring_nothing)
    process.stdin.write(listing)
    process.stdin.close()
    process.stdin = None
    while not process.stdout.readline().startswith(b'Predicted'):
        assert process.poll() is None
    time.sleep(0.5)
    process.send_signal(number)
    said, errors = (text.decode() for text in process.communicate())
    results = tmp_path / 'results'
    drawn = len(list((results / 'images').glob('*.jpg')))
    assert all(np.array(Image.open(path)).any() for path in (results / 'images').glob('*.jpg'))
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
        assert not (results / 'predictions.json').exists()
        assert not (results / 'predictions.csv').exists()
        assert predict('in/0.jpg', *arguments[1:])[0] == 0  # in the same folder
        assert {path.name for path in results.iterdir()} == {
            *('images', 'predictions.json', 'predictions.csv', '.prediction.lock')
        }
    else:
        assert process.returncode == 128 + number
        assert f'{number.name}: ended after {drawn} of 400 images; what is written' in said
        assert ('Ctrl-C: what is predicted so far is written' in errors) == (
            number == signal.SIGINT
        )
        assert len(json.loads((results / 'predictions.json').read_text())['images']) == drawn


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['coco', 'csv', 'image', 'video'])
def test_a_full_disk_is_one_sentence(predict, detector, images, tmp_path, kind):
    def little():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    if kind == 'video':
        video = VideoFile(images / 'clip.mp4', 12.5)
        for _ in range(20):
            video.write(np.array(Image.open(images / '0.jpg')))
        video.finish()
        for path in images.glob('*.jpg'):
            path.unlink()
    for number in range(4, 12):
        shutil.copy(images / '0.jpg', images / f'{number}.jpg') if kind != 'video' else None
    save = 'image' if kind == 'video' else kind
    arguments = ('in', *detector, '--score', '0.1', '--out', 'results', '--save', save)
    status, _, errors = predict(*arguments, preexec_fn=little)
    assert status == 2
    assert errors.count('error: ') == 1
    assert 'was not written' in errors
    assert 'Traceback' not in errors
    left = [path for path in (tmp_path / 'results').rglob('*') if path.is_file()]
    assert all(path.suffix == '.lock' or path.stat().st_size < 20_000 for path in left)
    assert not [path for path in left if path.suffix in ('.json', '.csv', '.mp4', '.partial')]


@pytest.mark.slow
def test_large_images_are_predicted_on_in_tiles(predict, detector, segmentor, tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (150, 330, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / 'large.png')
    tiles = ('--tile', '128', '--overlap', '0.25')
    status, said, errors = predict('large.png', *detector, *tiles, '--score', '0', '--out', 'a')
    assert (status, errors) == (0, ''), said
    found = json.loads((tmp_path / 'a' / 'predictions.json').read_text())
    assert (found['images'][0]['width'], found['images'][0]['height']) == (330, 150)
    assert len(found['annotations']) > 100  # more than of one image
    for out, options in (('b', tiles), ('c', ('--tile', '128', '--tile-exact'))):
        status, said, errors = predict('large.png', *segmentor, *options, '--out', out)
        assert (status, errors) == (0, ''), said
        assert Image.open(tmp_path / out / 'labels' / 'large.png').size == (330, 150)
    # Of this pipeline, which leaves images as they are, the exact map is that without tiles.
    predict('large.png', *segmentor, '--out', 'd')
    maps = [np.array(Image.open(tmp_path / out / 'labels' / 'large.png')) for out in 'cd']
    assert (maps[0] != maps[1]).mean() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (('--tile', '12'), 'tile is 12; expected a whole number of pixels from 64 on'),
        (('--tile', '512', '--overlap', '1'), 'overlap is 1.0; expected a share of a tile'),
        (('--overlap', '0.5'), '--overlap is that of tiles'),
        (('--tile-exact',), 'the model is a MaskRCNN: tile without tile_exact takes any model'),
    ],
)
def test_tiles_that_cannot_be_are_refused_in_a_sentence(predict, detector, images, options, words):
    status, said, errors = predict('in', *detector, *options)
    assert status == 2
    assert words in said + errors
    assert 'Traceback' not in said + errors
