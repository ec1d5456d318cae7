"""Steps whose loss is not finite, in real runs of MMEngine's runner on a tiny model."""

import pytest
import torch
from mmengine.hooks import EMAHook, Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import nn

from mmvision_mamba.engine import InputError

FINITE = list(range(8))


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(1)
        self.linear = nn.Linear(1, 1)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        y = self.linear(self.norm(torch.stack(inputs)))
        return dict(loss_a=y.square().mean(), loss_b=torch.stack(inputs).mean())


class Numbers(torch.utils.data.Dataset):
    """One number a sample, nan in those that are bad."""

    metainfo = {}  # noqa: RUF012

    def __init__(self, bad):
        self.bad = bad

    def __len__(self):
        return 8

    def __getitem__(self, index):
        value = float('nan') if index in self.bad else float(index)
        sample = BaseDataElement(metainfo=dict(img_path=f'{index}.jpg'))
        return dict(inputs=torch.tensor([value]), data_samples=sample)


def build(
    tmp_path,
    bad=(),
    max_skipped=10,
    launcher='none',
    hooks=(),
    resume=None,
    fused=False,
    interval=10,
    **optim_wrapper,
):
    """A runner of 4 steps of 2 samples, or with two processes 2 of 4, or one more than resumed."""
    torch.manual_seed(0)
    return Runner(
        Model(),
        work_dir=str(tmp_path),
        train_dataloader=dict(
            dataset=Numbers(bad), batch_size=2, sampler=dict(type='DefaultSampler', shuffle=False)
        ),
        train_cfg=dict(by_epoch=True, max_epochs=2 if resume else 1),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1, fused=fused), **optim_wrapper),
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=interval),
            nonfinite=dict(type='NonFiniteLossHook', max_skipped=max_skipped),
            checkpoint=dict(type='DurableCheckpointHook', interval=1),
        ),
        custom_hooks=list(hooks),
        load_from=resume,
        resume=resume is not None,
        randomness=dict(seed=0),
        launcher=launcher,
        env_cfg=dict(dist_cfg=dict(backend='gloo')),
        cfg=dict(model_wrapper_cfg=dict(type='MMDistributedDataParallel', device_ids=None)),
        # Runs of one name share a log.
        experiment_name=f'{tmp_path.parent.name}_{tmp_path.name}_{launcher}',
    )


def train(*args, **options):
    """Train by such a runner; returns it."""
    runner = build(*args, **options)
    runner.train()
    return runner


def state(runner):
    return {name: value.clone() for name, value in runner.model.state_dict().items()}


def test_a_bad_step_changes_neither_weights_nor_statistics(tmp_path):
    without = state(train(tmp_path / 'a', bad=FINITE[6:]))
    # The third step as well: what comes before and between is trained as ever.
    found = state(train(tmp_path / 'b', bad=[3, 6]))
    assert all(value.isfinite().all() for value in {**without, **found}.values())
    assert not torch.equal(without['linear.weight'], found['linear.weight'])
    skips = build(tmp_path / 'c', bad=FINITE)
    with pytest.raises(InputError, match=r'training ended without a step: the last 4 iterations'):
        skips.train()
    nothing = state(skips)
    assert nothing['norm.running_mean'].item() == 0
    assert nothing['norm.running_var'].item() == 1


@pytest.mark.parametrize(
    'options', [dict(clip_grad=dict(max_norm=1.0)), dict(accumulative_counts=2)]
)
def test_clipping_and_accumulation_are_no_way_around_it(options, tmp_path):
    runner = train(tmp_path, bad=[0], **options)
    assert all(value.isfinite().all() for value in state(runner).values())


def test_one_bad_step_too_many_in_a_row_ends_training_by_name(tmp_path):
    with pytest.raises(
        InputError, match=r'iteration 3: loss_a is nan, loss_b is nan \(images: 4.jpg, 5.jpg\)'
    ):
        train(tmp_path / 'a', bad=[2, 5], max_skipped=1)
    train(tmp_path / 'b', bad=[0, 4], max_skipped=1)


def test_a_run_that_ends_on_skipped_steps_alone_is_no_success(tmp_path):
    with pytest.raises(
        InputError, match=r'training ended after 2 steps: the last 2 iterations had a loss'
    ):
        train(tmp_path / 'a', bad=[4, 6], max_skipped=2)
    train(tmp_path / 'b', bad=[4, 6], max_skipped=3)  # as many as are allowed to go on
    train(tmp_path / 'c', bad=[2, 4], max_skipped=2)  # and then a step


def test_one_bad_batch_in_each_accumulated_step_is_not_forgotten_by_the_good_ones(tmp_path):
    with pytest.raises(InputError, match=r'iteration 3: .* 3 in a row \(at most 2'):
        train(tmp_path / 'a', bad=[0, 4], max_skipped=2, accumulative_counts=2)
    with pytest.raises(InputError, match=r'training ended without a step'):
        train(tmp_path / 'b', bad=[0, 4], accumulative_counts=2)


@pytest.mark.parametrize('options', [dict(), dict(accumulative_counts=2)])
def test_a_fused_optimizer_skips_by_a_flag_on_its_device(options, tmp_path):
    """And is in the end as one that is told by the host."""
    told = state(train(tmp_path / 'a', bad=[2], **options))
    skips = train(tmp_path / 'b', bad=[2], fused=True, **options)
    for name, value in state(skips).items():
        torch.testing.assert_close(value, told[name], rtol=1e-4, atol=1e-5)
    [hook] = [hook for hook in skips.hooks if hasattr(hook, 'max_skipped')]
    assert (hook._in_a_row, hook._steps) == (0, 1 if options else 3)


def test_what_was_skipped_is_told_at_the_loggers_interval(tmp_path):
    with pytest.raises(InputError, match=r'iteration 2: .*\(images: 2.jpg, 3.jpg\).*at most 1'):
        train(tmp_path / 'a', bad=[0, 2, 4], max_skipped=1, fused=True, interval=3)
    saved = build(tmp_path / 'b', bad=FINITE, fused=True, interval=3)
    with pytest.raises(InputError, match=r'training ended without a step: the last 4 iterations'):
        saved.train()
    log = next((tmp_path / 'b').rglob('*.log')).read_text()
    assert [f'iteration {i}: loss_a is nan' in log for i in (1, 2, 3, 4)] == [True] * 4


class Damage(Hook):
    """Set a value of the state after iterations, as memory that somebody else writes to."""

    priority = 'LOWEST'

    def __init__(self, pick, value, after=3):
        self.pick, self.value, self.after = pick, value, after

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if batch_idx + 1 == self.after:
            self.pick(runner).detach().flatten()[0] = self.value


def averaged(runner):
    [hook] = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
    return hook.ema_model.module.linear.weight


def moments(key):
    def pick(runner):
        return runner.optim_wrapper.optimizer.state[runner.model.linear.weight][key]

    return pick


@pytest.mark.parametrize(
    ('pick', 'value', 'message'),
    [
        (lambda runner: runner.model.linear.weight, 'inf', 'linear.weight is not finite'),
        (lambda runner: runner.model.norm.running_mean, 'nan', 'norm.running_mean is not finite'),
        (
            lambda runner: runner.model.norm.running_var,
            '-2',
            r'norm.running_var is an average of squares and negative \(-2\)',
        ),
        (averaged, 'nan', 'averaged linear.weight is not finite'),
        (moments('exp_avg'), 'nan', 'linear.weight.exp_avg is not finite'),
        (
            moments('exp_avg_sq'),
            '-1e-3',
            r'linear.weight.exp_avg_sq is an average of squares and negative \(-0.001\)',
        ),
    ],
)
def test_a_damaged_state_is_never_saved_and_the_last_checkpoint_named(
    pick, value, message, tmp_path
):
    train(tmp_path, hooks=[EMAHook()])
    saved = (tmp_path / 'epoch_1.pth').read_bytes()
    runner = build(tmp_path, hooks=[EMAHook(), Damage(pick, float(value), after=4)])
    with pytest.raises(InputError, match=rf'iteration 4: .*{message}.*, and is not saved'):
        runner.train()
    assert (tmp_path / 'epoch_1.pth').read_bytes() == saved
    with pytest.raises(InputError, match=rf'start from a damaged state: {message}'):
        train(tmp_path, hooks=[EMAHook()], resume=damaged_by(pick, value, tmp_path))


def damaged_by(pick, value, folder):
    """A checkpoint of such a state, as it was once written."""
    runner = train(folder, hooks=[EMAHook()])
    with torch.no_grad():
        pick(runner).flatten()[0] = float(value)
    runner.save_checkpoint(str(folder), 'damaged.pth')
    return str(folder / 'damaged.pth')


def _train_as_one_of_two(rank, tmp_path, port):
    import os

    os.environ.update(RANK=str(rank), WORLD_SIZE='2', LOCAL_RANK=str(rank), MASTER_ADDR='127.0.0.1')
    os.environ['MASTER_PORT'] = str(port)
    torch.distributed.init_process_group('gloo')
    torch.set_num_threads(1)
    model = train(tmp_path, bad=[5], launcher='pytorch').model.module
    torch.save(model.state_dict(), tmp_path / f'{rank}.pth')
    try:
        train(tmp_path / 'ends', bad=[5], max_skipped=0, launcher='pytorch')
    except InputError as error:
        (tmp_path / f'{rank}.txt').write_text(str(error))


@pytest.mark.slow
def test_two_processes_skip_the_same_step_and_name_the_one_image(tmp_path, free_port):
    torch.multiprocessing.spawn(_train_as_one_of_two, (tmp_path, free_port), nprocs=2)
    one, other = (torch.load(tmp_path / f'{rank}.pth') for rank in (0, 1))
    assert torch.equal(one['linear.weight'], other['linear.weight'])
    assert one['linear.weight'].isfinite().all()
    for rank in (0, 1):
        message = (tmp_path / f'{rank}.txt').read_text()
        # 5 is in the second step of the second process, beside 7.
        assert 'iteration 2: loss_a is nan, loss_b is nan (images: 5.jpg, 7.jpg)' in message
