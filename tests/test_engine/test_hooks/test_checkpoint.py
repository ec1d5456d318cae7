"""Checkpoints of real runs of MMEngine's runner on a tiny model: which there are, and resumed."""

import os
import shutil

import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from mmvision_mamba.checkpoints import read_checkpoint
from mmvision_mamba.engine import InputError

BATCHES = 5  # of a pass


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.linear = nn.Linear(3, 1)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        y = self.linear(self.norm(torch.stack(inputs)))
        return dict(loss=(y - 1).square().mean()) if mode == 'loss' else y


class Numbers(torch.utils.data.Dataset):
    metainfo = {}  # noqa: RUF012

    def __len__(self):
        return 2 * BATCHES

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        return dict(inputs=torch.randn(3, generator=generator))


class Score(BaseMetric):
    """One that rises, so that each validation has the best."""

    scores = 0

    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        Score.scores += 1
        return dict(score=Score.scores)


class At(Hook):
    """Do something after one training iteration."""

    def __init__(self, iteration, action):
        self.iteration, self.action = iteration, action

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.iteration:
            self.action(runner)


def train(
    folder,
    count,
    by_epoch,
    resume=None,
    hooks=(),
    interval=1,
    validated=True,
    saved_by_epoch=None,
    **checkpoint,
):
    """Train 3 passes of 5 batches, stepping every ``count`` batches; returns the runner."""
    planned = dict(max_epochs=3, val_interval=1)
    if not by_epoch:
        planned = dict(max_iters=3 * BATCHES, val_interval=4)
    saved_by_epoch = by_epoch if saved_by_epoch is None else saved_by_epoch
    checkpoint = dict(interval=interval, by_epoch=saved_by_epoch, save_best='score') | checkpoint
    shuffled = dict(type='DefaultSampler', shuffle=True)
    runner = Runner(
        Model(),
        work_dir=str(folder),
        train_dataloader=dict(dataset=Numbers(), batch_size=2, sampler=shuffled),
        train_cfg=dict(type=f'Resumable{"Epoch" if by_epoch else "Iter"}Loop', **planned),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1), accumulative_counts=count),
        param_scheduler=dict(type='LinearLR', start_factor=0.1, end=10, by_epoch=False),
        default_hooks=dict(
            checkpoint=dict(type='DurableCheckpointHook', rule='greater', **checkpoint)
        ),
        custom_hooks=list(hooks),
        randomness=dict(seed=0),
        load_from=resume,
        resume=resume is not None,
        experiment_name=f'{folder.parent.name}_{folder.name}_{resume}_{by_epoch}_{count}',
        **(
            dict(
                val_dataloader=dict(dataset=Numbers(), sampler=dict(type='DefaultSampler')),
                val_cfg=dict(),
                val_evaluator=Evaluator(Score()),
            )
            if validated
            else {}
        ),
    )
    runner.train()
    return runner


def state(runner):
    moments = runner.optim_wrapper.optimizer.state_dict()['state']
    return {
        **runner.model.state_dict(),
        **{(i, key): value for i, part in moments.items() for key, value in part.items()},
    }


def checkpoints(folder):
    """Iterations of a run's checkpoints by name, without the best."""
    return {
        path.stem: read_checkpoint(path)['meta']['iter']
        for path in folder.glob('*.pth')
        if not path.name.startswith('best')
    }


EXPECTED = {
    # Of three epochs of 5 batches, saved where the optimizer has just stepped, or at the end.
    (True, 3): dict(epoch_1=6, epoch_2=12, epoch_3=15),
    (True, 4): dict(epoch_1=8, epoch_2=12, epoch_3=15),
    (True, 20): dict(epoch_3=15),
    # Due after each third iteration, and where the best was found: each fourth.
    (False, 2): {f'iter_{i}': i for i in (4, 6, 8, 10, 12, 15)},
    (False, 4): {f'iter_{i}': i for i in (4, 8, 12, 15)},
    (False, 7): {f'iter_{i}': i for i in (7, 14, 15)},
}


@pytest.mark.parametrize(('by_epoch', 'count'), EXPECTED)
def test_each_checkpoint_of_accumulated_gradients_resumes_to_the_same_end(
    by_epoch, count, tmp_path
):
    interval = 1 if by_epoch else 3
    whole = train(tmp_path / 'whole', count, by_epoch, interval=interval)
    found = checkpoints(tmp_path / 'whole')
    assert found == EXPECTED[by_epoch, count]
    for name in found:
        path = str(tmp_path / 'whole' / f'{name}.pth')
        resumed = train(tmp_path / name, count, by_epoch, resume=path, interval=interval)
        assert resumed.iter == whole.iter == 3 * BATCHES
        for key, value in state(whole).items():
            assert torch.equal(state(resumed)[key], value), (name, key)
        assert checkpoints(tmp_path / name).items() <= found.items()


@pytest.mark.parametrize('count', [1, 3])
def test_checkpoints_of_iterations_resume_to_the_same_end_in_training_by_epochs(count, tmp_path):
    kept = dict(saved_by_epoch=False, save_best=None, max_keep_ckpts=-1)
    whole = train(tmp_path / 'whole', count, True, **kept)
    found = checkpoints(tmp_path / 'whole')
    assert found == {f'iter_{i}': i for i in range(count, 3 * BATCHES + 1, count)}
    for name in found:
        path = str(tmp_path / 'whole' / f'{name}.pth')
        resumed = train(tmp_path / name, count, True, resume=path, **kept)
        assert (resumed.epoch, resumed.iter) == (whole.epoch, whole.iter) == (3, 3 * BATCHES), name
        for key, value in state(whole).items():
            assert torch.equal(state(resumed)[key], value), (name, key)


def test_a_run_that_is_stopped_early_between_two_steps_is_saved_at_its_end(tmp_path):
    def stop(runner):
        runner.train_loop.stop_training = True

    train(tmp_path, 4, True, hooks=[At(5, stop)])
    assert checkpoints(tmp_path) == dict(epoch_1=5)


@pytest.mark.parametrize('by_epoch', [True, False])
def test_a_run_saved_now_resumes_to_the_same_end(by_epoch, tmp_path):
    """As a signal or the clock has it saved, in an iteration that also is due."""

    def save(runner):
        [hook] = [hook for hook in runner.hooks if hasattr(hook, 'save_now')]
        saved.append(hook.save_now(runner, runner.iter % BATCHES + 1))
        shutil.copy(saved[0], tmp_path / 'copied.pth')

    saved = []
    whole = train(tmp_path / 'whole', 3, by_epoch, hooks=[At(9, save)], interval=100)
    path = str(tmp_path / 'copied.pth')
    assert read_checkpoint(path)['meta']['iter'] == 9
    resumed = train(tmp_path / 'resumed', 3, by_epoch, resume=path, interval=100)
    for key, value in state(whole).items():
        assert torch.equal(state(resumed)[key], value), key


def test_what_is_superseded_goes_with_its_digest_and_the_best_keeps_its_own(tmp_path):
    train(tmp_path, 1, True, max_keep_ckpts=2)
    names = {path.name for path in tmp_path.iterdir() if path.is_file() and path.suffix != '.py'}
    kept = {'epoch_2.pth', 'epoch_3.pth', 'best_score_epoch_3.pth', 'last_checkpoint'}
    assert names == kept | {f'{name}.sha256' for name in kept}


def test_a_best_checkpoint_that_would_not_be_finite_replaces_none(tmp_path):
    def damage(runner):
        with torch.no_grad():
            runner.model.linear.bias.fill_(float('nan'))

    # After the second epoch's checkpoint, which is not written at all.
    with pytest.raises(InputError, match=r'linear.bias is not finite'):
        train(tmp_path, 1, True, hooks=[At(10, damage)], interval=100, save_last=False)
    best = tmp_path / 'best_score_epoch_1.pth'
    assert read_checkpoint(best)['state_dict']['linear.bias'].isfinite().all()
    assert [path.name for path in tmp_path.glob('best*.pth')] == [best.name]


def delete(folder):
    shutil.rmtree(folder)


def replace_by_a_file(folder):
    # Where not even root can write.
    folder.rename(folder.with_name('moved'))
    folder.write_text('')


@pytest.mark.parametrize('action', [delete, replace_by_a_file])
def test_a_work_dir_that_is_gone_ends_training_with_the_name_of_a_file(action, tmp_path):
    folder = tmp_path / 'run'
    with pytest.raises(OSError, match=str(folder)) as caught:
        train(folder, 1, True, hooks=[At(7, lambda _: action(folder))], validated=False)
    assert os.fspath(caught.value.filename).startswith(str(folder))
    left = tmp_path / 'moved'
    assert checkpoints(left) == (dict(epoch_1=5) if left.is_dir() else {})
