"""Training data that depends on its place in the run alone: on the seed, the pass and the position.

An interrupted run then goes on in the middle of a pass with the very images and augmentations it
would have seen, whatever the number of worker processes; and n processes with a batch of b see what
one process with a batch of n * b sees.
"""

import logging
import random
from collections.abc import Iterator, Sequence, Sized

import numpy as np
import torch
from mmengine.dist import get_dist_info
from mmengine.logging import print_log
from mmengine.registry import DATA_SAMPLERS, DATASETS
from torch.utils.data import BatchSampler, Dataset, Sampler

from ..errors import InputError


def seed_generators(*place: int) -> None:
    """Seed the random generators of Python, NumPy and torch (its devices' too) from numbers."""
    # Mixed, because neighbouring seeds start generators in related states.
    words = np.random.SeedSequence(place).generate_state(2)
    random.seed(int(words[0]))
    np.random.seed(words[0])  # noqa: NPY002  (the generator that transforms use)
    torch.manual_seed(int(words[1]))


class IndexInRun(int):
    """The index of a sample, with the numbers that seed its augmentation."""

    place: tuple[int, ...] = ()

    def at(self, *place: int) -> 'IndexInRun':
        self.place = place
        return self


class PlacedSampler(Sampler):
    """Another sampler's indices, each with its place among those of all processes."""

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler
        self.dataset = sampler.dataset
        self.seed = getattr(sampler, 'seed', 0)
        self.epoch = 0

    def __iter__(self) -> Iterator[IndexInRun]:
        rank, world_size = get_dist_info()
        for i, index in enumerate(self.sampler):
            yield IndexInRun(index).at(self.seed, self.epoch, i * world_size + rank)

    def __len__(self) -> int:
        return len(self.sampler)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.sampler.set_epoch(epoch)

    def set_seed(self, seed: int) -> None:
        self.seed = self.sampler.seed = seed


@DATA_SAMPLERS.register_module()
class ResumableBatchSampler(BatchSampler):
    """Another batch sampler's batches, from any of them on, without loading those before.

    Args:
        sampler: The sampler of a data loader.
        batch_size: Samples in a batch.
        batch_sampler: Config of what makes the batches; None for torch's own.
        drop_last: Leave out a last batch of fewer samples.
    """

    def __init__(
        self,
        sampler: Sampler,
        batch_size: int,
        batch_sampler: dict | None = None,
        drop_last: bool = False,
    ) -> None:
        super().__init__(PlacedSampler(sampler), batch_size, drop_last)
        options = dict(sampler=self.sampler, batch_size=batch_size, drop_last=drop_last)
        if batch_sampler is None:
            self.batches = BatchSampler(**options)
        else:
            self.batches = DATA_SAMPLERS.build(batch_sampler, default_args=options)
        self._skipped = 0

    def skip(self, count: int) -> None:
        """Leave out the first ``count`` batches of the next pass."""
        self._skipped = count

    def __iter__(self) -> Iterator[list[IndexInRun]]:
        batches = iter(self.batches)
        for _ in range(self._skipped):
            next(batches)
        self._skipped = 0
        yield from batches

    def __len__(self) -> int:
        return len(self.batches)


@DATASETS.register_module()
class ResumableDataset(Dataset):
    """Another data set, each sample augmented as its :class:`IndexInRun` says.

    A sample that cannot be made (an unreadable image, an annotation that a transform fails on)
    is named. Up to ``max_bad_samples`` of them, in each process, are replaced by others, which
    their place decides as well; one more ends the training.

    Args:
        dataset: A data set or its config.
        max_bad_samples: How many different samples may be replaced.

    Raises:
        InputError: A sample cannot be made; naming its image, the cause and what would do.
    """

    def __init__(self, dataset: Dataset | dict, max_bad_samples: int = 0) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self.max_bad_samples = max_bad_samples
        # Shared, because every worker process has a copy of the rest.
        self.bad = torch.zeros(len(self.dataset), dtype=torch.bool).share_memory_()

    def __getitem__(self, index: int) -> dict:
        place = getattr(index, 'place', None)
        for attempt in range(len(self)):
            if place is not None:
                seed_generators(*place, attempt)
            index = random.randrange(len(self)) if attempt else int(index)
            if self.bad[index]:
                continue
            try:
                sample = self.dataset[index]
                _check_labels(sample, self.dataset.metainfo.get('classes'))
                return sample
            except Exception as error:
                self._pass_over(index, error)
        raise InputError('no sample of the training data can be read')

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def pipeline(self):
        """The inner data set's transforms, which hooks of mmdet exchange during training."""
        return self.dataset.pipeline

    @pipeline.setter
    def pipeline(self, pipeline) -> None:
        self.dataset.pipeline = pipeline

    def __getattr__(self, name: str):
        # What a hook asks of a data set (metainfo, get_data_info, ...) is the inner one's.
        if name == 'dataset':
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def _pass_over(self, index: int, error: Exception) -> None:
        self.bad[index] = True
        count = int(self.bad.sum())
        what = f'training sample {_name(self.dataset, index)}: {type(error).__name__}: {error}'
        if count > self.max_bad_samples:
            raise InputError(
                f'{what}\n{count} such samples in this process, '
                f'train_cfg.max_bad_samples={self.max_bad_samples}; mend the data '
                '(python -m mmvision_mamba.datasets check CONFIG lists all that is wrong with it), '
                'or raise train_cfg.max_bad_samples to pass over as many'
            ) from error
        message = f'Passed over {what} ({count} of at most {self.max_bad_samples})'
        print_log(message, 'current', logging.WARNING)


def _check_labels(sample: dict, classes: Sequence[str] | None) -> None:
    """Refuse a seg map with a label that is no class, at which the loss would fail, on a GPU
    without a word about the cause; 255 is what mmseg ignores.

    Raises:
        ValueError: Naming the label.
    """
    samples = sample.get('data_samples') if isinstance(sample, dict) else None
    if classes is None or 'gt_sem_seg' not in (samples or ()):
        return
    labels = samples.gt_sem_seg.data.numpy()  # half the time of torch on one thread
    unknown = labels[(labels >= len(classes)) & (labels != 255)]
    if len(unknown):
        raise ValueError(f'label {int(unknown[0])} in its seg map, of {len(classes)} classes')


def _name(dataset: Sized, index: int) -> str:
    try:
        info = dataset.get_data_info(index)
        return str(info.get('img_path') or info.get('img') or index)
    except Exception:
        return str(index)  # an annotation that cannot be read has no name either


def resumable(dataloader: dict, max_bad_samples: int = 0) -> dict:
    """The config of a training data loader, made resumable.

    Args:
        dataloader: As MMEngine's runner takes it.
        max_bad_samples: See :class:`ResumableDataset`.
    """
    dataloader = dict(dataloader)
    return dict(
        dataloader,
        dataset=dict(
            type='ResumableDataset',
            dataset=dataloader['dataset'],
            max_bad_samples=max_bad_samples,
        ),
        batch_sampler=dict(
            type='ResumableBatchSampler',
            batch_sampler=dataloader.get('batch_sampler'),
            drop_last=dataloader.pop('drop_last', False),
        ),
    )
