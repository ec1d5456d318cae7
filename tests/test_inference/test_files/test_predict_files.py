"""Any number of files is predicted on: each result under its own name, whatever else happens."""

import errno
import functools
import io
import json
import multiprocessing
import os
import shutil
import signal
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console as RichConsole

from mmvision_mamba.engine import stop_signals
from mmvision_mamba.errors import InputError
from mmvision_mamba.inference.files.predict_files import (
    Wanted,
    count_images,
    describe,
    predict_files,
    take_folder,
)
from mmvision_mamba.inference.files.progress import ImageProgress
from mmvision_mamba.inference.files.saving import Saver, make_savers
from mmvision_mamba.inference.files.sources import Source, find_sources
from mmvision_mamba.inference.files.videos import Video, VideoFile
from mmvision_mamba.inference.predictor import Predictor

pytestmark = pytest.mark.slow  # in sum

LOW = Wanted(0.2)  # of an untrained detector, a sixth and a little more


@pytest.fixture(scope='session')
def predictors(untrained):
    """A function that gives an untrained predictor of a task, by size of batches."""

    @functools.cache
    def predictors(task: str = 'detection', batch_size: int = 1) -> Predictor:
        model = 'mask_rcnn_mambavision' if task == 'detection' else 'upernet_mambaout'
        return Predictor(*untrained(f'{model}_demo_shapes'), batch_size=batch_size, device='cpu')

    return predictors


@pytest.fixture
def images(tmp_path, shapes_data) -> Path:
    """A folder of eight images of two sizes and more kinds."""
    folder = tmp_path / 'in'
    folder.mkdir()
    originals = sorted((shapes_data / 'shapes/coco/train2017').iterdir())[:8]
    for number, path in enumerate(originals):
        shutil.copy(path, folder / f'{number}.jpg')
    return folder


class Lines:
    """Takes what a console is given to show."""

    rich = RichConsole(file=io.StringIO())

    def __init__(self) -> None:
        self.lines = []
        self.print = self.lines.append

    def stop_bar(self) -> None:
        pass


@pytest.fixture
def run(tmp_path):
    """A function that predicts as the tool does; gives the tally, what was said, and the folder."""

    def run(predictor, inputs, kinds=('coco',), wanted=LOW, savers=()):
        out, console = tmp_path / 'out', Lines()
        found = find_sources([str(inputs)])
        total = count_images(found.sources)
        facts = (found.sources, predictor.class_names, predictor.palette, predictor.task)
        with ExitStack() as saving:
            savers = [*make_savers(kinds, out, *facts), *savers]
            for saver in savers:
                saving.enter_context(saver)
            progress = saving.enter_context(ImageProgress(console, total))
            tally = predict_files(predictor, found.sources, savers, wanted, progress)
        said = [*console.lines, *describe(tally, total, wanted, found, savers)]
        return tally, '\n'.join(said), out

    return run


def found_in(out: Path) -> dict[str, list[dict]]:
    """Annotations of a file of predictions by name of the image."""
    read = json.loads((out / 'predictions.json').read_text())
    found = {image['file_name']: [] for image in read['images']}
    names = {image['id']: image['file_name'] for image in read['images']}
    for annotation in read['annotations']:
        found[names[annotation['image_id']]].append(annotation)
    return found


def boxes(annotations: list[dict]) -> np.ndarray:
    found = np.array([entry['bbox'] for entry in annotations]).reshape(-1, 4)
    found[:, 2:] += found[:, :2]
    return found


@pytest.mark.parametrize('batch_size', [1, 3])
def test_each_image_gets_its_own_results_where_others_cannot_be_read(
    predictors, images, run, batch_size
):
    for name in ('1', '2', '6'):
        content = (images / f'{name}.jpg').read_bytes()
        (images / f'{name}.jpg').write_bytes(content[: len(content) // 2])
    (images / '9.jpg').write_text('no image')
    predictor = predictors(batch_size=batch_size)
    tally, said, out = run(predictor, images)
    assert (tally.written, tally.failed, tally.stopped) == (5, 4, None)
    assert [said.count(f'{number}.jpg') for number in range(10)] == [0, 1, 1, 0, 0, 0, 1, 0, 0, 1]
    assert 'Passed over: 4 files, named above' in said
    found = found_in(out)
    assert list(found) == ['0.jpg', '3.jpg', '4.jpg', '5.jpg', '7.jpg']
    for name, annotations in found.items():
        alone = predictor(images / name).above(LOW.score)
        assert np.allclose(boxes(annotations), alone.boxes, atol=0.01)
    assert tally.objects == sum(map(len, found.values())) > 0


def test_frames_of_a_video_stand_between_images_in_order(predictors, images, run):
    frames = [np.array(Image.open(images / f'{number}.jpg').resize((96, 64))) for number in '012']
    video = VideoFile(images / '4.mp4', 5.0)
    for frame in frames:
        video.write(frame)
    video.finish()
    (images / '5.mp4').write_text('no video')
    tally, said, out = run(predictors(), images, ['coco', 'image'])
    names = [f'{number}.jpg' for number in range(5)]
    names += [f'4.mp4/frame_00000{number}.png' for number in range(3)]
    assert list(found_in(out)) == [*names, '5.jpg', '6.jpg', '7.jpg']
    assert 'passed over: 5.mp4: it is no video' in said
    assert (tally.written, tally.failed) == (11, 1)
    drawn = Video(out / 'videos' / '4.mp4')
    assert (drawn.rate, drawn.frames) == (5.0, 3)


def test_no_object_above_the_score_is_said_with_the_highest_there_is(predictors, images, run):
    predictor = predictors()
    best = [float(predictor(path).scores.max()) for path in sorted(images.iterdir())]
    score = sorted(best)[5]
    tally, said, out = run(predictor, images, wanted=Wanted(score))
    assert (tally.without, tally.highest) == (5, sorted(best)[4])
    assert f'in 5 of 8 images; the highest score there is {sorted(best)[4]:.2f}' in said
    assert sum(map(bool, found_in(out).values())) == 3


def test_classes_that_are_not_wanted_are_left_out(predictors, images, run):
    predictor = predictors()
    _, said, _ = run(predictor, images, wanted=Wanted(1.0, ('star', 'cross')))
    assert 'No object of star, cross of score 1 or more in 8 of 8 images' in said
    _, _, out = run(predictor, images, wanted=Wanted(0.0, ('star', 'cross')))
    kinds = {entry['category_id'] for found in found_in(out).values() for entry in found}
    assert kinds
    assert kinds <= {predictor.class_names.index(name) + 1 for name in ('star', 'cross')}


def test_of_an_animation_the_first_image_is_predicted_on_and_that_is_said(predictors, images, run):
    first, *others = [Image.open(path) for path in sorted(images.iterdir())]
    first.save(images / 'a.gif', save_all=True, append_images=others)
    first.save(images / 'b.gif')
    tally, said, out = run(predictors(), images)
    assert tally.written == 10
    assert 'Of 1 file with several images, such as GIFs, the first' in said
    assert {'a.gif', 'b.gif'} <= set(found_in(out))


def test_an_image_that_the_pipeline_cannot_take_is_passed_over(predictors, images, run):
    Image.new('RGB', (3000, 2)).save(images / 'thin.png')  # of which resizing leaves no row
    tally, said, _ = run(predictors(), images)
    assert (tally.written, tally.failed) == (8, 1)
    assert 'thin.png of 3000 x 2 cannot be transformed by the test pipeline' in said


def test_a_segmentor_says_nothing_of_objects(predictors, images, run):
    tally, said, out = run(predictors('segmentation'), images, ['png', 'image', 'csv'])
    assert tally.objects is None
    assert 'bject' not in said
    for path in images.iterdir():
        labels = Image.open(out / 'labels' / f'{path.stem}.png')
        assert labels.size == Image.open(path).size


class _Signalling(Saver):
    """Sends this process a signal when it writes the third image."""

    paths: tuple = ()
    written = 0

    def write(self, item, prepared):
        self.written += 1
        if self.written == 3:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_ends_it_with_whole_files_that_say_the_same(predictors, images, run, monkeypatch):
    for number in range(8, 80):
        shutil.copy(images / '0.jpg', images / f'{number}.jpg')
    monkeypatch.setattr(stop_signals, '_received', None)
    tally, said, out = run(predictors(), images, ['coco', 'csv', 'image'], savers=[_Signalling()])
    assert tally.stopped == signal.SIGTERM
    assert 3 <= tally.written < 80
    assert f'SIGTERM: ended after {tally.written} of 80 images' in said
    assert len(found_in(out)) == tally.written == len(list((out / 'images').iterdir()))
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


class _Full(Saver):
    """A disk on which writing one image's results fails."""

    paths: tuple = ()

    def __init__(self, number: int, at: str) -> None:
        self.number, self.at = number, at

    def prepare(self, item, result):
        if item.name == self.at:
            raise OSError(self.number, os.strerror(self.number), item.name)


def test_a_disk_that_is_full_ends_it_and_leaves_no_half_file(predictors, images, run, tmp_path):
    with pytest.raises(OSError, match='No space left'):
        run(predictors(), images, ['coco', 'csv', 'image'], savers=[_Full(errno.ENOSPC, '2.jpg')])
    left = {path.name for path in (tmp_path / 'out').iterdir()}
    assert left == {'images'}


def test_a_name_that_is_too_long_for_a_result_fails_alone(predictors, images, run):
    full = _Full(errno.ENAMETOOLONG, '2.jpg')
    tally, said, out = run(predictors(), images, savers=[full])
    assert (tally.written, tally.failed) == (7, 1)
    assert 'File name too long' in said
    assert '2.jpg' not in found_in(out)


def test_a_folder_of_other_files_is_not_written_into(tmp_path):
    labels = tmp_path / 'data' / 'labels'
    labels.mkdir(parents=True)
    (labels / 'truth.png').touch()
    with pytest.raises(InputError, match='give --out a new folder'):
        take_folder(tmp_path / 'data')


def test_results_do_not_go_where_their_images_are(tmp_path):
    take_folder(tmp_path / 'out')
    drawn = tmp_path / 'out' / 'images' / 'a.jpg'
    os.symlink('out', tmp_path / 'link')
    for out in ('out', 'link'):
        with pytest.raises(InputError, match=r'images lies in .*: give --out a new folder'):
            take_folder(tmp_path / out, [Source(drawn, 'a.jpg')])


def test_a_folder_of_an_earlier_run_is_taken_and_cleared_of_what_a_killed_one_left(tmp_path):
    out = tmp_path / 'out'
    take_folder(out)
    (out / 'videos').mkdir()
    for name in ('predictions.json.0a1b2c3d.partial', 'videos/0a1b2c3d.partial.mp4', 'a.partial'):
        (out / name).touch()
    take_folder(out)
    assert {path.name for path in out.rglob('*.*') if path.is_file()} == {
        '.prediction.lock',
        'a.partial',
    }


def test_two_runs_do_not_share_a_folder(tmp_path):
    take_folder(tmp_path / 'out')
    said = r'taken by another prediction .* another --out'
    with (
        multiprocessing.get_context('fork').Pool(1) as pool,
        pytest.raises(InputError, match=said),
    ):
        pool.apply(take_folder, [tmp_path / 'out'])


def test_a_file_in_the_place_of_the_folder_is_said(tmp_path):
    (tmp_path / 'out').touch()
    with pytest.raises(InputError, match='out cannot be written to'):
        take_folder(tmp_path / 'out')
    with pytest.raises(InputError, match=r'Not a directory: .*cannot be written to'):
        take_folder(tmp_path / 'out' / 'deep')
