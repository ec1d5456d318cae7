"""Training by several processes and machines, here on CPUs with gloo, through dist_train.sh."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
DETECTOR = ROOT / 'configs' / 'mask_rcnn_mambavision_demo_shapes.py'
STEPS = 5
# All that is random or depends on how images are grouped is off, so that runs can be compared:
# crops and flips, dropout, and batch norm, whose statistics are a process's own without SyncBN.
COMPARABLE = f"""
_base_ = '{ROOT}/configs/upernet_mambaout_demo_shapes.py'
custom_imports = dict(imports=[*_base_.custom_imports.imports, 'step_recorder'])
custom_hooks = [dict(type='StepRecorder')]
norm_cfg = dict(type='GN', num_groups=8)
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    decode_head=dict(norm_cfg=norm_cfg, dropout_ratio=0),
    auxiliary_head=dict(norm_cfg=norm_cfg, dropout_ratio=0),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='Resize', scale=(64, 64), keep_ratio=False),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
train_cfg = dict(max_iters={STEPS}, val_interval={STEPS})
optim_wrapper = dict(optimizer=dict(lr=1e-3), clip_grad=dict(max_norm=0.2))
param_scheduler = [dict(type='ConstantLR', factor=1.0, by_epoch=False)]
default_hooks = dict(checkpoint=dict(interval=3))
randomness = dict(seed=1)
"""


def free_port() -> str:
    with socket.socket() as opened:
        opened.bind(('', 0))
        return str(opened.getsockname()[1])


@pytest.fixture(scope='module')
def start(shapes_data):
    """Start a tool in a folder, with one thread a process; returns it running."""

    def start(folder, tool, *args, **environment):
        paths = [str(ROOT), str(Path(__file__).parent), os.environ.get('PYTHONPATH', '')]
        # A file: a pipe that nobody reads yet fills up, and stops the process.
        with tempfile.NamedTemporaryFile(prefix='output_', dir=folder, delete=False) as output:
            process = subprocess.Popen(
                [
                    'bash' if tool.endswith('.sh') else sys.executable,
                    ROOT / 'tools' / tool,
                    *map(str, args),
                ],
                cwd=folder,
                env=dict(
                    os.environ,
                    PYTHON=sys.executable,
                    PYTHONPATH=os.pathsep.join(paths),
                    OMP_NUM_THREADS='1',
                    MMVISION_DATA=str(shapes_data),
                    **environment,
                ),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        process.output = Path(output.name)
        return process

    return start


def finish(*processes) -> str:
    """What they printed, once all have ended well."""
    for process in processes:
        try:
            process.wait(300)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    printed = [process.output.read_text() for process in processes]
    for process, text in zip(processes, printed):
        assert process.returncode == 0, text[-4000:]
    return ''.join(printed)


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp('config') / 'comparable.py'
    path.write_text(COMPARABLE)
    return path


def steps(folder, processes: int) -> dict[int, dict]:
    """Of each training step of all processes together: images, mean loss, gradient norm."""
    parts = [
        json.loads((folder / f'run/steps_{rank}.json').read_text()) for rank in range(processes)
    ]
    return {
        int(step): dict(
            images=sorted(name for part in parts for name in part[step]['images']),
            loss=sum(part[step]['loss'] for part in parts) / processes,
            grad_norm=parts[0][step]['grad_norm'],
        )
        for step in parts[0]
    }


def assert_same_steps(given, expected) -> None:
    for step in given:
        assert given[step]['images'] == expected[step]['images']
        assert given[step]['loss'] == pytest.approx(expected[step]['loss'], abs=1e-4)
        assert given[step]['grad_norm'] == pytest.approx(expected[step]['grad_norm'], rel=1e-2)


@pytest.fixture(scope='module')
def alone(start, config, tmp_path_factory):
    """Folder of a run of one process with batches of 8."""
    folder = tmp_path_factory.mktemp('alone')
    finish(start(folder, 'train.py', config, '--work-dir', 'run'))
    return folder


@pytest.fixture(scope='module')
def sharded(start, config, tmp_path_factory):
    """Folder of the same by two processes with batches of 4, each with half of the model."""
    folder = tmp_path_factory.mktemp('sharded')
    finish(start(folder, 'dist_train.sh', config, 2, '--fsdp', *halves()))
    return folder


def halves() -> tuple[str, ...]:
    return '--work-dir', 'run', '--cfg-options', 'train_dataloader.batch_size=4'


def test_the_runs_that_are_compared_learn_and_clip_their_gradients(alone):
    first, *_, last = steps(alone, 1).values()
    assert last['loss'] < first['loss'] - 0.02
    assert first['grad_norm'] > 0.3


def test_two_processes_on_two_machines_take_the_steps_of_one(alone, start, config, tmp_path):
    place = dict(NNODES='2', MASTER_ADDR='127.0.0.1', PORT=free_port())
    finish(
        *[
            start(tmp_path, 'dist_train.sh', config, 1, *halves(), **place, NODE_RANK=rank)
            for rank in '01'
        ]
    )
    assert list(steps(tmp_path, 2)) == list(range(1, STEPS + 1))
    assert_same_steps(steps(tmp_path, 2), steps(alone, 1))


def test_elastic_machines_go_on_from_the_last_checkpoint_when_a_worker_is_killed(
    alone, start, config, tmp_path
):
    deadly = tmp_path / 'deadly.py'
    deadly.write_text(
        f"_base_ = '{config}'\n"
        "custom_hooks = [*_base_.custom_hooks, dict(type='DieOnce', step=4)]\n"
    )
    place = dict(NNODES='2', RDZV_ENDPOINT=f'localhost:{free_port()}', RDZV_ID='test')
    finish(*[start(tmp_path, 'dist_train.sh', deadly, 1, *halves(), **place) for _ in range(2)])
    assert (tmp_path / 'run' / 'died').exists()
    assert list(steps(tmp_path, 2)) == [4, 5]
    assert_same_steps(steps(tmp_path, 2), steps(alone, 1))


def test_what_a_user_has_to_mend_is_said_once_and_not_tried_again(start, config, tmp_path):
    options = ('--work-dir', 'run', '--cfg-options', 'model.backbone.drop_path_rate=7')
    process = start(tmp_path, 'dist_train.sh', config, 2, *options)
    assert process.wait(300) == 1
    text = process.output.read_text()
    assert text.count('error: model.backbone (MambaOut): drop_path_rate must be in [0, 1)') == 1
    # The first start alone came as far as to make a log.
    assert len(list((tmp_path / 'run').glob('*/*.log'))) == 1


def test_a_sharded_model_takes_the_steps_of_a_whole_one(alone, sharded):
    assert list(steps(sharded, 2)) == list(range(1, STEPS + 1))
    assert_same_steps(steps(sharded, 2), steps(alone, 1))


def test_a_sharded_run_leaves_one_checkpoint_like_any_other(alone, sharded):
    pair = [torch.load(f / 'run' / 'iter_5.pth', weights_only=False) for f in (alone, sharded)]
    whole, of_shards = (
        dict(checkpoint['state_dict'])
        | {
            (index, key): value
            for index, values in checkpoint['optimizer']['state'].items()
            for key, value in values.items()
        }
        for checkpoint in pair
    )
    assert list(whole) == list(of_shards)
    for name, value in whole.items():
        assert type(of_shards[name]) is torch.Tensor
        torch.testing.assert_close(of_shards[name], value, rtol=1e-2, atol=1e-3)
    assert pair[0]['meta']['iter'] == pair[1]['meta']['iter'] == STEPS
    assert pair[0]['optimizer']['param_groups'] == pair[1]['optimizer']['param_groups']


def test_one_process_resumes_what_a_sharded_run_left(alone, sharded, start, config, tmp_path):
    checkpoint = sharded / 'run' / 'iter_3.pth'
    finish(start(tmp_path, 'train.py', config, '--work-dir', 'run', '--resume', checkpoint))
    assert list(steps(tmp_path, 1)) == [4, 5]
    assert_same_steps(steps(tmp_path, 1), steps(alone, 1))


def test_a_sharded_run_resumes_what_one_process_left(alone, start, config, tmp_path):
    checkpoint = alone / 'run' / 'iter_3.pth'
    resume = ('--resume', checkpoint, '--fsdp')
    finish(start(tmp_path, 'dist_train.sh', config, 2, *resume, *halves()))
    assert list(steps(tmp_path, 2)) == [4, 5]
    assert_same_steps(steps(tmp_path, 2), steps(alone, 1))


def test_a_sharded_detector_with_a_scan_trains_recomputing_and_is_tested(start, tmp_path):
    options = ('model.backbone.with_cp=True', 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1')
    common = ('--fsdp', '--work-dir', 'run', '--cfg-options', *options)
    text = finish(start(tmp_path, 'dist_train.sh', DETECTOR, 2, *common))
    assert 'coco/segm_mAP:' in text
    checkpoint = torch.load(tmp_path / 'run' / 'epoch_1.pth', weights_only=False)
    assert (checkpoint['meta']['epoch'], checkpoint['meta']['iter']) == (1, 2)
    text = finish(start(tmp_path, 'test.py', DETECTOR, 'run/epoch_1.pth'))
    assert 'coco/segm_mAP:' in text
