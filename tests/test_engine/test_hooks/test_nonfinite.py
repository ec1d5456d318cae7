"""Steps whose loss is not finite, in real runs of MMEngine's runner on a tiny model."""

import pytest
import torch
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


def train(tmp_path, bad=(), max_skipped=10, launcher='none', **optim_wrapper):
    """Train 4 steps of 2 samples, or with two processes 2 of 4; returns the runner."""
    runner = Runner(
        Model(),
        work_dir=str(tmp_path),
        train_dataloader=dict(
            dataset=Numbers(bad), batch_size=2, sampler=dict(type='DefaultSampler', shuffle=False)
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1), **optim_wrapper),
        default_hooks=dict(
            nonfinite=dict(type='NonFiniteLossHook', max_skipped=max_skipped), checkpoint=None
        ),
        randomness=dict(seed=0),
        launcher=launcher,
        env_cfg=dict(dist_cfg=dict(backend='gloo')),
        cfg=dict(model_wrapper_cfg=dict(type='MMDistributedDataParallel', device_ids=None)),
        experiment_name=f'{tmp_path.name}_{launcher}',
    )
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
    nothing = state(train(tmp_path / 'c', bad=FINITE))
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
