"""What befalls long runs, done to real ones: nothing is lost, and what goes on goes on exactly."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from mmvision_mamba.checkpoints import read_checkpoint
from mmvision_mamba.checkpoints.durable_files import DurableLocalBackend
from mmvision_mamba.datasets import draw_shapes

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
DETECTOR = ROOT / 'configs' / 'mask_rcnn_mambavision_demo_shapes.py'
SEGMENTOR = ROOT / 'configs' / 'upernet_mambaout_demo_shapes.py'
# 16 images: 8 iterations an epoch. With workers, random flips and drop path.
TWO_EPOCHS = (
    'model.backbone.drop_path_rate=0.2',
    'train_cfg.max_epochs=2',
    'train_cfg.val_interval=9',
    'default_hooks.checkpoint.interval=1',
    'train_dataloader.batch_size=2',
    'train_dataloader.num_workers=2',
    'train_dataloader.persistent_workers=True',
)
SIX_ITERATIONS = (
    'model.backbone.drop_path_rate=0.2',
    'train_cfg.max_iters=6',
    'train_cfg.val_interval=6',
    'default_hooks.checkpoint.interval=2',
    'train_dataloader.batch_size=4',
    'train_dataloader.num_workers=2',
    'train_dataloader.persistent_workers=True',
)
ENDLESS = (
    'train_cfg.max_iters=1000',
    'train_cfg.val_interval=1000',
    'train_dataloader.batch_size=2',
)


class Run:
    """A training in processes of its own."""

    def __init__(
        self,
        folder,
        config,
        options,
        *args,
        data,
        launcher=(sys.executable,),
        count=(),
        verbose=True,  # prints MMEngine's lines, and tracebacks
    ):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / f'output_{len(list(folder.glob("output_*")))}.txt'
        options = [*options, 'default_hooks.logger.interval=1']
        tool = ROOT / 'tools' / ('dist_train.sh' if count else 'train.py')
        command = [*launcher, tool, config, *count, '--work-dir', folder, *args]
        command += ['--verbose'] if verbose else []
        with open(self.log, 'w') as output:
            self.process = subprocess.Popen(
                [*map(str, command), '--seed', '1', '--cfg-options', *options],
                env=dict(
                    os.environ,
                    MMVISION_DATA=str(data),
                    OMP_NUM_THREADS='1',
                    PYTHON=sys.executable,
                    MAX_RESTARTS='1',  # one kill, one restart
                ),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.log.read_text()

    def wait_for(self, ready, seconds=120):
        """Wait until a function of the output is true, or the run has ended."""
        end = time.monotonic() + seconds
        while not ready(self.output) and self.process.poll() is None:
            assert time.monotonic() < end, self.output[-2000:]
            time.sleep(0.02)

    def wait(self, status=0):
        assert self.process.wait(300) == status, self.output[-3000:]
        return self

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def losses(folder):
    """Loss by iteration, of the last time that each was trained."""
    found = {}
    for log in sorted(folder.glob('*/vis_data/scalars.json')):
        for line in log.read_text().splitlines():
            scalars = json.loads(line)
            if 'loss' in scalars:
                found[scalars['iter']] = scalars['loss']
    return found


def assert_same_losses(folder, uninterrupted):
    expected = losses(uninterrupted)
    assert losses(folder) == pytest.approx(expected, abs=1e-6)


@pytest.fixture(scope='module')
def uninterrupted_detector(shapes_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp('uninterrupted')
    Run(folder, DETECTOR, TWO_EPOCHS, data=shapes_data).wait()
    assert len(losses(folder)) == 16
    return folder


@pytest.fixture(scope='module')
def uninterrupted_segmentor(shapes_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp('uninterrupted')
    Run(folder, SEGMENTOR, SIX_ITERATIONS, data=shapes_data).wait()
    assert len(losses(folder)) == 6
    return folder


@pytest.fixture
def at_iteration_4(uninterrupted_segmentor, tmp_path):
    """The segmentor's run as if it had been killed after its second checkpoint."""
    folder = tmp_path / 'run'
    shutil.copytree(uninterrupted_segmentor, folder)
    for later in folder.glob('*iter_6.pth'):
        later.unlink()
    DurableLocalBackend().put_text('iter_4.pth', folder / 'last_checkpoint')
    return folder


def test_sigterm_saves_in_mid_epoch_and_the_resumed_run_equals_an_uninterrupted_one(
    uninterrupted_detector, shapes_data, tmp_path
):
    folder = tmp_path / 'run'
    run = Run(folder, DETECTOR, TWO_EPOCHS, data=shapes_data)
    run.wait_for(lambda output: re.search(r'Epoch\(train\)\s+\[2\]\[2/8\]', output))
    run.process.send_signal(signal.SIGTERM)
    run.wait(status=0)
    saved = re.search(r'SIGTERM: saved .*(epoch_1_iter_(\d+)\.pth)', run.output)
    assert saved
    assert 10 <= int(saved[2]) < 16
    assert (folder / 'last_checkpoint').read_text().endswith(saved[1])

    # The seed is read from the checkpoint; another one given by mistake is said and not taken.
    resumed = Run(folder, DETECTOR, TWO_EPOCHS, '--resume', data=shapes_data).wait()
    assert f'[2][{int(saved[2]) - 8 + 1}/8]' in resumed.output.replace(' ', '')
    assert_same_losses(folder, uninterrupted_detector)
    assert not (folder / saved[1]).exists()
    assert (folder / 'epoch_2.pth').is_file()


def test_sigterm_during_validation_ends_it_and_the_resumed_run_trains_on(
    uninterrupted_detector, shapes_data, tmp_path
):
    folder = tmp_path / 'run'
    options = [*TWO_EPOCHS, 'train_cfg.val_interval=1', 'val_dataloader.batch_size=1']
    run = Run(folder, DETECTOR, options, data=shapes_data)
    run.wait_for(lambda output: re.search(r'Epoch\(val\)\s+\[1\]\[\s*1/', output))
    run.process.send_signal(signal.SIGTERM)
    run.wait(status=0)
    assert re.search(
        r'SIGTERM: --resume goes on from .*epoch_1\.pth, without validating', run.output
    )
    assert 'coco/bbox_mAP' not in run.output

    Run(folder, DETECTOR, TWO_EPOCHS, '--resume', data=shapes_data).wait()
    assert_same_losses(folder, uninterrupted_detector)


@pytest.mark.parametrize(
    ('name', 'start'),
    [('SIGTERM', 'fork'), ('SIGINT', 'fork'), ('SIGHUP', 'spawn'), ('SIGTERM', 'forkserver')],
)
def test_a_signal_to_the_whole_group_saves_and_the_resumed_run_equals_an_uninterrupted_one(
    name, start, uninterrupted_segmentor, shapes_data, tmp_path
):
    options = [*SIX_ITERATIONS, f'train_dataloader.multiprocessing_context={start}']
    run = Run(tmp_path, SEGMENTOR, options, data=shapes_data)
    run.wait_for(lambda output: re.search(r'Iter\(train\)\s+\[2/', output))
    os.killpg(run.process.pid, getattr(signal, name))  # data loaders' workers too
    run.wait(status=0)
    assert re.search(rf'{name}: saved .*iter_\d\.pth; --resume goes on from there', run.output)
    assert 'Traceback' not in run.output
    Run(tmp_path, SEGMENTOR, SIX_ITERATIONS, '--resume', data=shapes_data).wait()
    assert_same_losses(tmp_path, uninterrupted_segmentor)


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGINT', 'SIGHUP'])
def test_a_signal_at_start_up_ends_in_one_sentence(name, shapes_data, tmp_path):
    run = Run(tmp_path, SEGMENTOR, SIX_ITERATIONS, data=shapes_data)
    handled = 1 << signal.SIGHUP - 1  # the last, and Python's own handler is none of it
    status = Path(f'/proc/{run.process.pid}/status')
    run.wait_for(lambda _: int(re.search(r'SigCgt:\s(\w+)', status.read_text())[1], 16) & handled)
    os.killpg(run.process.pid, getattr(signal, name))
    run.wait(status=0)
    assert run.output.strip().startswith(f'{name}: nothing is trained yet; --resume goes on')
    assert len(run.output.strip().splitlines()) == 1


def test_a_validation_without_a_checkpoint_before_it_is_preceded_by_one(shapes_data, tmp_path):
    options = [*SIX_ITERATIONS, 'train_cfg.val_interval=3', 'default_hooks.checkpoint.interval=100']
    run = Run(tmp_path, SEGMENTOR, options, data=shapes_data)
    run.wait_for(lambda output: re.search(r'Iter\(val\)\s+\[1/', output))
    os.killpg(run.process.pid, signal.SIGTERM)
    run.wait(status=0)
    assert re.search(r'--resume goes on from .*iter_3\.pth, without validating it', run.output)
    assert (tmp_path / 'last_checkpoint').read_text().endswith('iter_3.pth')


def test_a_run_goes_on_in_a_time_zone_further_west(
    at_iteration_4, uninterrupted_segmentor, shapes_data, monkeypatch
):
    monkeypatch.setenv('TZ', 'Etc/GMT+11')
    run = Run(at_iteration_4, SEGMENTOR, SIX_ITERATIONS, '--resume', data=shapes_data).wait()
    assert 'Traceback' not in run.output
    summary = json.loads((at_iteration_4 / 'summary.json').read_text())
    assert (summary['starts'], summary['ended']) == (2, True)
    expected = losses(uninterrupted_segmentor)[6]
    assert summary['losses']['loss'] == pytest.approx(expected, abs=1e-6)


def test_resuming_a_run_that_has_ended_says_so(uninterrupted_segmentor, shapes_data, tmp_path):
    folder = tmp_path / 'run'
    shutil.copytree(uninterrupted_segmentor, folder)
    run = Run(folder, SEGMENTOR, SIX_ITERATIONS, '--resume', data=shapes_data).wait()
    assert 'Nothing is left to train: the run ended at iteration 6 of 6.' in run.output


def test_a_second_training_in_the_work_dir_is_refused(shapes_data, tmp_path):
    first = Run(tmp_path, SEGMENTOR, ENDLESS, data=shapes_data)
    lock = tmp_path / '.training.lock'
    first.wait_for(lambda _: lock.exists() and lock.read_text())
    second = Run(tmp_path, SEGMENTOR, ENDLESS, '--resume', data=shapes_data, verbose=False)
    second.wait(status=2)
    assert f'is taken by another training (process {first.process.pid} on' in second.output
    assert 'Traceback' not in second.output
    first.kill()


def workers(run):
    """The training processes under torchrun, by rank."""
    children = psutil.Process(run.process.pid).children()  # theirs load data
    ranks = {child.environ().get('RANK'): child for child in children}
    return ranks['0'], ranks['1']


def test_sigterm_to_one_of_two_processes_saves_and_ends_both(shapes_data, tmp_path):
    run = Run(tmp_path, SEGMENTOR, ENDLESS, data=shapes_data, launcher=['bash'], count=[2])
    run.wait_for(lambda output: re.search(r'Iter\(train\)\s+\[\s*2/', output))
    workers(run)[1].send_signal(signal.SIGTERM)
    run.wait(status=0)
    assert re.search(r'SIGTERM: saved .*iter_\d+\.pth; --resume goes on', run.output)


def test_a_signal_to_the_group_of_torchrun_saves_and_ends_all(shapes_data, tmp_path):
    run = Run(tmp_path, SEGMENTOR, ENDLESS, data=shapes_data, launcher=['bash'], count=[2])
    run.wait_for(lambda output: re.search(r'Iter\(train\)\s+\[\s*2/', output))
    everyone = [run.process.pid, *(worker.pid for worker in workers(run))]
    for pid in everyone:
        os.kill(pid, signal.SIGTERM)
    run.wait(status=0)
    assert re.search(r'SIGTERM: saved .*iter_\d+\.pth; --resume goes on', run.output)
    assert 'Traceback' not in run.output


def test_a_signal_in_validation_to_one_of_two_processes_ends_both(tmp_path):
    draw_shapes(tmp_path / 'shapes', num_train=8, num_val=11)  # one has an image more
    options = [*ENDLESS, 'train_cfg.val_interval=2']
    two_processes = dict(data=tmp_path, launcher=['bash'], count=[2])
    run = Run(tmp_path / 'run', SEGMENTOR, options, **two_processes)
    run.wait_for(lambda output: re.search(r'Iter\(val\)\s+\[1/', output))
    workers(run)[1].send_signal(signal.SIGTERM)
    run.wait(status=0)
    assert re.search(r'--resume goes on from .*iter_2\.pth, without validating it', run.output)


def test_workers_end_with_the_agent_that_started_them(shapes_data, tmp_path):
    run = Run(tmp_path, SEGMENTOR, ENDLESS, data=shapes_data, launcher=['bash'], count=[2])
    run.wait_for(lambda output: re.search(r'Iter\(train\)\s+\[\s*2/', output))
    left = [child for worker in workers(run) for child in (worker, *worker.children())]
    run.process.kill()
    run.process.wait()
    _, alive = psutil.wait_procs(left, timeout=30)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def test_a_worker_killed_in_mid_epoch_is_restarted_and_the_curve_goes_on(shapes_data, tmp_path):
    options = [
        *TWO_EPOCHS,
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        'default_hooks.preemption.save_minutes=0',  # after every iteration
    ]
    two_processes = dict(data=shapes_data, launcher=['bash'], count=[2])
    run = Run(tmp_path / 'killed', DETECTOR, options, **two_processes)
    # Its line in the log comes before the checkpoint is whole; the pointer to it comes after.
    newest = run.folder / 'last_checkpoint'
    run.wait_for(lambda _: newest.exists() and 'epoch_1_iter_6' in newest.read_text())
    workers(run)[1].kill()
    run.wait()
    assert re.search(r'resumed epoch: 1, iter: [67]', run.output)

    whole = Run(tmp_path / 'uninterrupted', DETECTOR, options, **two_processes).wait()
    assert len(losses(whole.folder)) == 8
    assert_same_losses(run.folder, whole.folder)
    assert {path.name for path in run.folder.glob('epoch_*.pth')} == {'epoch_1.pth', 'epoch_2.pth'}


def test_a_job_killed_while_it_writes_a_checkpoint_resumes_from_the_one_before(
    uninterrupted_segmentor, shapes_data, tmp_path
):
    folder = tmp_path / 'run'
    options = [*SIX_ITERATIONS, 'default_hooks.checkpoint.interval=1']
    for _ in range(10):
        run = Run(folder, SEGMENTOR, options, '--resume', data=shapes_data)
        end = time.monotonic() + 120
        caught = []
        while not caught and run.process.poll() is None and time.monotonic() < end:
            # Not the first: there is to be one before it.
            caught = [p for p in folder.glob('iter_*.pth.*.partial') if p.name[5] != '1']
        run.kill()
        caught = [path for path in caught if path.exists()]
        if caught:
            break
        shutil.rmtree(folder)
    interrupted = int(re.search(r'\d+', caught[0].name)[0])
    assert not (folder / f'iter_{interrupted}.pth').exists()
    resumed = Run(folder, SEGMENTOR, options, '--resume', data=shapes_data).wait()
    assert f'iter_{interrupted - 1}.pth' in resumed.output
    assert not list(folder.glob('*.partial'))
    assert_same_losses(folder, uninterrupted_segmentor)


def test_a_truncated_newest_checkpoint_is_passed_over_and_said(
    at_iteration_4, uninterrupted_segmentor, shapes_data
):
    newest = at_iteration_4 / 'iter_4.pth'
    newest.write_bytes(newest.read_bytes()[:-1000])
    run = Run(at_iteration_4, SEGMENTOR, SIX_ITERATIONS, '--resume', data=shapes_data).wait()
    assert 'iter_4.pth differs from its digest in iter_4.pth.sha256, going on from iter_2.pth' in (
        run.output
    )
    assert_same_losses(at_iteration_4, uninterrupted_segmentor)


def limited_files(kilobytes):
    return ['bash', '-c', f'ulimit -f {kilobytes}; exec "$0" "$@"', sys.executable]


def small_disk(folder, kilobytes):
    """A disk of that size at the folder, which keeps what it holds after the run."""
    return [
        'unshare',
        '--map-root-user',
        '--mount',
        'bash',
        '-c',
        f'cp -r {folder} {folder}.before && mount -t tmpfs -o size={kilobytes}k none {folder} && '
        f'cp -r {folder}.before/. {folder}; "$0" "$@"; status=$?; cp -r {folder} {folder}.after; '
        'exit $status',
        sys.executable,
    ]


@pytest.mark.parametrize('limit', ['a full disk', 'a limit on file size'])
def test_without_room_training_stops_clearly_and_keeps_the_checkpoint_before(
    limit, at_iteration_4, shapes_data
):
    folder = at_iteration_4
    (folder / 'iter_2.pth').unlink()
    size = sum(path.stat().st_size for path in folder.rglob('*') if path.is_file()) // 1024
    one = (folder / 'iter_4.pth').stat().st_size // 1024
    if limit == 'a full disk':
        allowed = subprocess.run(['unshare', '--map-root-user', '--mount', 'true'], check=False)
        if allowed.returncode:
            pytest.skip('needs a mount namespace of its own (unshare), not allowed here')
        launcher, message = small_disk(folder, size + one // 2), 'No space left on device'
    else:
        launcher, message = limited_files(one - 100), 'File too large'
    # With room for one checkpoint only, the old one may not go before the new one is there.
    options = [*SIX_ITERATIONS, 'default_hooks.checkpoint.max_keep_ckpts=1']
    how = dict(data=shapes_data, launcher=launcher, verbose=False)
    run = Run(folder, SEGMENTOR, options, '--resume', **how).wait(status=2)
    assert f'error: {message}: ' in run.output
    assert 'iter_6.pth was not written' in run.output
    assert 'Traceback' not in run.output
    after = folder.with_name('run.after') if limit == 'a full disk' else folder
    assert {path.name for path in after.glob('iter_*.pth')} == {'iter_4.pth'}
    assert (after / 'last_checkpoint').read_text() == 'iter_4.pth'


def test_a_loss_that_is_not_finite_stops_with_its_iteration_terms_and_images(shapes_data, tmp_path):
    options = [*SIX_ITERATIONS, 'optim_wrapper.optimizer.lr=1e30', 'param_scheduler=None']
    options.append('default_hooks.nonfinite.max_skipped=2')
    run = Run(tmp_path, SEGMENTOR, options, data=shapes_data, verbose=False).wait(status=2)
    assert 'step skipped, 1 in a row' in run.output
    assert re.search(
        r'error: iteration \d: decode\.loss_ce is nan, .*images: /.*\.jpg.*3 in a row', run.output
    )
    assert 'Traceback' not in run.output


def test_an_image_that_cannot_be_read_is_named_or_passed_over_as_told(tmp_path):
    root = draw_shapes(tmp_path / 'shapes', num_train=8, num_val=2)
    broken = next((root / 'coco' / 'train2017').glob('*3.jpg'))
    broken.write_bytes(b'not an image')
    run = Run(tmp_path / 'stops', DETECTOR, TWO_EPOCHS, data=tmp_path, verbose=False)
    run.wait(status=2)
    assert f'error: training sample {broken}' in run.output
    assert 'Traceback' not in run.output

    options = [*TWO_EPOCHS, 'train_cfg.max_bad_samples=1']
    run = Run(tmp_path / 'goes_on', DETECTOR, options, data=tmp_path).wait()
    assert len(losses(tmp_path / 'goes_on')) == 8
    assert f'Passed over training sample {broken}' in run.output


def test_averaged_weights_and_accumulated_gradients_survive_an_interruption(shapes_data, tmp_path):
    options = [
        *SIX_ITERATIONS,
        'default_hooks.ema.type=EMAHook',
        'default_hooks.ema.momentum=0.1',
        'optim_wrapper.accumulative_counts=2',
        'optim_wrapper.paramwise_cfg.layer_decay=0.8',
    ]
    whole = Run(tmp_path / 'whole', SEGMENTOR, options, data=shapes_data).wait()
    folder = tmp_path / 'run'
    shutil.copytree(whole.folder, folder)
    for later in folder.glob('*iter_6.pth'):
        later.unlink()
    Run(folder, SEGMENTOR, options, '--resume', data=shapes_data).wait()
    assert_same_losses(folder, whole.folder)
    expected, found = (read_checkpoint(path / 'iter_6.pth') for path in (whole.folder, folder))
    differs = False
    for name, average in expected['state_dict'].items():
        torch.testing.assert_close(found['state_dict'][name], average)
        trained = expected['ema_state_dict'][f'module.{name}']
        differs = differs or not torch.equal(average, trained)
    assert differs


def test_a_new_run_does_not_overwrite_another(uninterrupted_segmentor, shapes_data):
    run = Run(uninterrupted_segmentor, SEGMENTOR, SIX_ITERATIONS, data=shapes_data).wait(status=2)
    assert 'holds a run already (up to iter_6.pth): go on with it by --resume' in run.output


def test_a_checkpoint_that_is_named_is_resumed_whatever_lies_in_the_work_dir(
    at_iteration_4, uninterrupted_segmentor, shapes_data, tmp_path
):
    work_dir = tmp_path / 'damaged'
    work_dir.mkdir()
    (work_dir / 'iter_2.pth').write_bytes(b'half')
    options = ('--resume', at_iteration_4 / 'iter_4.pth')
    run = Run(work_dir, SEGMENTOR, SIX_ITERATIONS, *options, data=shapes_data).wait()
    assert 'resumed epoch: 0, iter: 4' in run.output
    assert losses(work_dir)[6] == pytest.approx(losses(uninterrupted_segmentor)[6], abs=1e-6)
