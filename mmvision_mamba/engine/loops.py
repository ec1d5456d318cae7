"""MMEngine's training loops, going on after an interruption as if there had been none."""

from collections.abc import Iterator, Sequence

from mmengine.dist import get_rank
from mmengine.optim import OptimWrapperDict
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch.utils.data import DataLoader

from ..datasets.resumable import resumable, seed_generators

# In the message hub, and so in checkpoints: batches of the pass that were trained, and its length.
PROGRESS = 'pass_progress'


def optimizer_has_just_stepped(runner) -> bool:
    """Whether no gradients wait for a later step, asked in ``after_train_iter``.

    Under gradient accumulation (``optim_wrapper.accumulative_counts``) a checkpoint of another
    iteration would lose them.
    """
    wrapper = runner.optim_wrapper
    wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    return all(wrapper.should_update() for wrapper in wrappers)


class _ResumableLoop:
    """What both loops share: data and randomness that depend on the place in the run alone."""

    def __init__(self, runner, dataloader, *args, max_bad_samples: int = 0, **kwargs) -> None:
        if not isinstance(dataloader, dict):
            raise TypeError(
                f'{type(self).__name__} builds its data loader itself: give its config, '
                f'not a {type(dataloader).__name__}'
            )
        super().__init__(runner, resumable(dataloader, max_bad_samples), *args, **kwargs)

    def run(self):
        # A run without a seed of its own has drawn another one before it read the checkpoint's.
        self.dataloader.batch_sampler.sampler.set_seed(self.runner.seed)
        return super().run()

    def _seed_step(self) -> None:
        seed_generators(self.runner.seed, self._iter, get_rank())


@LOOPS.register_module()
class ResumableEpochLoop(_ResumableLoop, EpochBasedTrainLoop):
    """Training by epochs that resumes in the middle of one.

    Args:
        max_bad_samples: See :class:`mmvision_mamba.datasets.resumable.ResumableDataset`.
        runner, dataloader, max_epochs, val_begin, val_interval, dynamic_intervals: As in MMEngine's
            ``EpochBasedTrainLoop``.
    """

    _trained = 0

    def run_epoch(self) -> None:
        trained, length = self.runner.message_hub.pop_info(PROGRESS, (0, 1))
        # With another number of processes than before, the same share of an epoch.
        self._trained = trained * len(self.dataloader) // length
        self.dataloader.batch_sampler.skip(self._trained)
        super().run_epoch()

    def run_iter(self, idx: int, data_batch: Sequence[dict]) -> None:
        self._seed_step()
        super().run_iter(self._trained + idx, data_batch)


@LOOPS.register_module()
class ResumableIterLoop(_ResumableLoop, IterBasedTrainLoop):
    """Training by iterations that resumes at the next batch.

    Args:
        max_bad_samples: See :class:`mmvision_mamba.datasets.resumable.ResumableDataset`.
        runner, dataloader, max_iters, val_begin, val_interval, dynamic_intervals: As in MMEngine's
            ``IterBasedTrainLoop``.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.dataloader_iterator = _Endless(self.dataloader)

    def run_iter(self, data_batch: Sequence[dict]) -> None:
        self._seed_step()
        super().run_iter(data_batch)


class _Endless:
    """A data loader's batches, pass after pass; most samplers for it have one endless pass."""

    def __init__(self, dataloader: DataLoader) -> None:
        self.dataloader = dataloader
        self.epoch = 0
        self.batches: Iterator | None = None

    def skip_iter(self, count: int) -> None:
        """Start behind the first ``count`` batches."""
        if not hasattr(self.dataloader.batch_sampler.sampler.sampler, 'skip'):
            self.epoch, count = divmod(count, len(self.dataloader))
            self.dataloader.batch_sampler.sampler.set_epoch(self.epoch)
        self.dataloader.batch_sampler.skip(count)

    def __next__(self) -> Sequence[dict]:
        if self.batches is None:
            self.batches = iter(self.dataloader)
        try:
            return next(self.batches)
        except StopIteration:
            self.epoch += 1
            self.dataloader.batch_sampler.sampler.set_epoch(self.epoch)
            self.batches = iter(self.dataloader)
            return next(self.batches)
