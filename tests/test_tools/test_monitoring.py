"""What a training run shows of itself: in the terminal, in its work dir, in TensorBoard."""

import contextlib
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmvision_mamba.analysis.run_logs import read_run

pytestmark = pytest.mark.slow
CONFIGS = Path(__file__).parents[2] / 'configs'
SEGMENTOR = CONFIGS / 'upernet_mambaout_demo_shapes.py'
# With hooks of the user's own, which replace the list of custom hooks.
OWN = f"""
_base_ = {str(CONFIGS / 'mask_rcnn_mambavision_demo_shapes.py')!r}
visualizer = dict(vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])
custom_hooks = []
"""
EVERY_ITERATION = ('default_hooks.logger.interval=1',)
EVERY_EPOCH = ('train_cfg.val_interval=1', 'default_hooks.checkpoint.interval=1', *EVERY_ITERATION)


@pytest.fixture(scope='module')
def module_folder(tmp_path_factory):
    return tmp_path_factory.mktemp('monitoring')


@pytest.fixture
def detector(module_folder, shapes_data, run_tool):
    """What two epochs printed, and their work dir, trained once for all tests."""
    work_dir, printed = module_folder / 'run', module_folder / 'printed.txt'
    if not printed.exists():
        config = module_folder / 'own.py'
        config.write_text(OWN)
        args = (config, '--work-dir', work_dir, '--seed', 1, '--cfg-options')
        args += ('train_cfg.max_epochs=2', *EVERY_EPOCH)
        done = run_tool('train.py', *args, data=shapes_data)
        printed.write_text(done.stdout + done.stderr)
    return printed.read_text(), work_dir


def summary(work_dir):
    return json.loads((work_dir / 'summary.json').read_text())


def test_little_comes_before_the_first_progress_and_says_what_is_trained(detector):
    printed, work_dir = detector
    lines = printed.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith('Epoch(train)'))
    start = '\n'.join(lines[:first])
    assert first <= 30
    assert lines[0].endswith('own.py: looking at the data and building the model ...')
    assert 'Training   own: MaskRCNN on MambaVision, 3.9 million parameters' in start
    assert 'data       16 images of 5 classes (CocoDataset, ' in start
    assert 'validation 4 images of 5 classes' in start
    assert 'length     2 epochs, 8 iterations' in start
    assert 'optimizer  AdamW, learning rate 0.001, weight decay 0 to 0.05, float32' in start
    assert re.search('device     (CPU, 2 threads|1 x )', start)
    assert 'weights    at random' in start
    [log] = work_dir.glob('*/*.log')
    assert f'log        {log} ' in start


def test_progress_has_loss_images_a_second_and_eta_in_training_and_validation(detector):
    printed, work_dir = detector
    facts = r'images/s: ([\d.]+)  eta: \d+:\d\d:\d\d'
    lines = re.findall(r'Epoch\(train\) \[\d\]\[\d/4\]  loss: [\d.]+  ' + facts, printed)
    assert len(lines) == 8
    times = read_run(work_dir)['time'].values
    assert float(lines[-1]) == pytest.approx(4 / times[-1], rel=0.2, abs=0.05)
    assert len(re.findall(r'Epoch\(val\) \[\d\]\[1/1\]  ' + facts, printed)) == 2
    assert len(re.findall(r'Epoch\(val\) \[\d\]\[1/1\]  coco/bbox_mAP: ', printed)) == 2


def test_the_log_file_holds_all_that_is_not_printed(detector):
    printed, work_dir = detector
    [log] = [path.read_text() for path in work_dir.glob('*/*.log')]
    for text in (
        'System environment:',
        "type='MambaVision'",
        'Hooks will be executed in the following order',
        '"FileClient" will be deprecated',
        'creating index...',
        'Optimizer: ',
        'Average Precision  (AP)',
        'base_lr: ',
    ):
        assert text in log
        assert text not in printed
    assert 'Training   own: MaskRCNN on MambaVision' in log


def test_all_of_it_is_printed_on_demand(detector, shapes_data, run_tool, tmp_path):
    _, work_dir = detector
    config = work_dir.parent / 'own.py'
    args = (config, work_dir / 'epoch_2.pth', '--verbose', '--work-dir', 'tested')
    printed = run_tool('test.py', *args, data=shapes_data).stdout
    for text in ('System environment:', 'creating index...'):
        assert text in printed
    assert re.search(r'INFO - Epoch\(test\) .*data_time: ', printed)


def test_a_terminal_shows_a_bar(detector, shapes_data, tmp_path):
    _, work_dir = detector
    command = [sys.executable, CONFIGS.parent / 'tools' / 'test.py', work_dir.parent / 'own.py']
    command += [work_dir / 'epoch_2.pth', '--work-dir', tmp_path / 'tested']
    outer, inner = pty.openpty()
    environment = dict(os.environ, MMVISION_DATA=str(shapes_data), TERM='xterm', COLUMNS='150')
    process = subprocess.Popen(
        list(map(str, command)), stdout=inner, stderr=inner, env=environment, cwd=tmp_path
    )
    os.close(inner)
    shown = b''
    with contextlib.suppress(OSError):  # how the end of a terminal reads
        while part := os.read(outer, 65536):
            shown += part
    assert process.wait() == 0
    assert re.search(r'Testing .*━.*1/1.*images/s: [\d.]+  eta: 0:00:00', shown.decode())
    assert 'coco/segm_mAP: ' in shown.decode()
    # Of its imports, which this process has made itself.
    [log] = tmp_path.glob('tested/*/*.log')
    assert 'Could not import OneDL' in log.read_text()
    assert 'Could not import OneDL' not in shown.decode()


def test_the_summary_says_what_was_trained_how_far_and_how_well(detector):
    _, work_dir = detector
    result = summary(work_dir)
    assert result['config'] == 'own'
    assert result['backbone']['type'] == 'MambaVision'
    assert (result['iterations'], result['max_iterations'], result['epochs']) == (8, 8, 2)
    assert (result['ended'], result['starts'], result['seed']) == (True, 1, 1)
    assert result['processes'] == 1
    assert {'torch', 'mmdet', 'mmvision_mamba'} <= set(result['versions'])
    assert 0 < result['images_per_second'] < 1000
    assert result['seconds'] > 1
    assert set(result['losses']) >= {'loss', 'loss_mask'}
    scores = result['metrics']['coco/segm_mAP']
    assert scores['last_iteration'] == 8
    assert scores['best_iteration'] in (4, 8)
    [best] = result['best_checkpoints']
    assert (work_dir / best).is_file()
    assert [path.name for path in work_dir.glob('.*')] == ['.training.lock']


def test_the_curves_are_an_image(detector):
    _, work_dir = detector
    pixels = np.asarray(Image.open(work_dir / 'curves.png').convert('L'))
    assert pixels.shape[0] > pixels.shape[1] / 2
    assert 0.005 < (pixels < 200).mean() < 0.3


def test_tensorboard_gets_losses_rate_and_metrics_over_iterations(detector):
    accumulator = pytest.importorskip(
        'tensorboard.backend.event_processing.event_accumulator', reason='needs tensorboard'
    )
    _, work_dir = detector
    [folder] = work_dir.glob('*/vis_data')
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    log = read_run(work_dir)
    for key in ('loss', 'lr', 'images_per_second', 'coco/bbox_mAP'):
        scalars = events.Scalars(key)
        assert [event.step for event in scalars] == log[key].iterations
        assert [event.value for event in scalars] == pytest.approx(log[key].values, rel=1e-6)


def test_a_resumed_run_continues_its_curves_and_its_clock(
    detector, shapes_data, run_tool, tmp_path
):
    work_dir = tmp_path / 'run'
    shutil.copytree(detector[1], work_dir)
    before = summary(work_dir)
    args = (tmp_path / 'own.py', '--work-dir', work_dir, '--resume', '--cfg-options')
    args[0].write_text(OWN)
    run_tool('train.py', *args, 'train_cfg.max_epochs=3', *EVERY_EPOCH, data=shapes_data)
    after = summary(work_dir)
    assert (after['starts'], after['iterations'], after['epochs']) == (2, 12, 3)
    # The clock goes on from the last checkpoint, which was written before the last validation.
    assert after['seconds'] > 0.5 * before['seconds']
    log = read_run(work_dir)
    assert log['loss'].iterations == list(range(1, 13))
    assert log['coco/bbox_mAP'].iterations == [4, 8, 12]


def test_a_run_that_stops_between_validations_has_curves_and_summary_of_the_last(
    shapes_data, run_tool, tmp_path, monkeypatch
):
    (tmp_path / 'stopping.py').write_text(
        'from mmengine.hooks import Hook\n'
        'from mmengine.registry import HOOKS\n'
        '@HOOKS.register_module()\n'
        'class StoppingHook(Hook):\n'
        '    def before_train_iter(self, runner, batch_idx, data_batch=None):\n'
        '        if runner.iter == 3:\n'
        "            raise RuntimeError('stopped')\n"
    )
    monkeypatch.setenv('PYTHONPATH', str(tmp_path), prepend=os.pathsep)
    config = tmp_path / 'stopping_config.py'
    config.write_text(
        f'_base_ = {str(SEGMENTOR)!r}\n'
        "custom_imports = dict(imports=[*_base_.custom_imports.imports, 'stopping'])\n"
        "custom_hooks = [dict(type='StoppingHook')]\n"
    )
    args = (config, '--work-dir', 'run', '--cfg-options', 'train_cfg.max_iters=4')
    args += ('train_cfg.val_interval=2', *EVERY_ITERATION)
    done = run_tool('train.py', *args, data=shapes_data, check=False)
    assert 'RuntimeError: stopped' in done.stderr
    result = summary(tmp_path / 'run')
    assert (result['ended'], result['iterations'], result['max_iterations']) == (False, 2, 4)
    assert 'epochs' not in result
    assert result['metrics']['mIoU']['last_iteration'] == 2
    assert (tmp_path / 'run' / 'curves.png').is_file()
