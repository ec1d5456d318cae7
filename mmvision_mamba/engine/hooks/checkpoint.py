"""Checkpoints of which a whole one is on disk at any moment, whenever the run is stopped."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop

from ...checkpoints.durable_files import POINTER, DurableLocalBackend, clear_unfinished
from ...checkpoints.main_process import ending_together
from ...checkpoints.reading.plain import to_plain
from ...errors import InputError
from ..loops import PROGRESS, optimizer_has_just_stepped
from .nonfinite import state_defects


class _RemoveLater:
    """A file backend that keeps a list of what it is told to remove."""

    def __init__(self, backend: LocalBackend) -> None:
        self.backend = backend
        self.outdated: list[str] = []

    def remove(self, filepath: str) -> None:
        self.outdated.append(filepath)

    def __getattr__(self, name: str):
        return getattr(self.backend, name)


@HOOKS.register_module()
class DurableCheckpointHook(CheckpointHook):
    """MMEngine's checkpoints, in an order that a full disk or a killed process cannot hurt.

    A checkpoint that is superseded is removed after its successor is on disk, not before; the
    pointer file comes last. What a killed process has left half-written is removed at the start.

    Under gradient accumulation a checkpoint between two optimizer steps would lose the gradients of
    the batches since the first. One that is due then is written after the second: by iterations
    under the later number, by epochs under the epoch's, from where it resumes in the next one.

    Weights, running statistics and moments that are not finite are not written.

    Args: As MMEngine's ``CheckpointHook``.

    Raises (in training, in all processes):
        InputError: What would be saved, or what training starts from, is not finite.
        OSError: A checkpoint cannot be written; the ones before are still there.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._is_due = False
        self._saved_iter = None
        self._batches = 0

    def before_train(self, runner) -> None:
        super().before_train(runner)
        if is_main_process():
            for folder in {self.out_dir, runner.work_dir}:
                clear_unfinished(folder)
        defects = state_defects(runner)
        if defects:
            raise InputError(f'training would start from a damaged state: {defects}')

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self._batches = batch_idx + 1
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        if not self._is_due or not optimizer_has_just_stepped(runner):
            return
        if self.by_epoch:
            if self.end_of_epoch(runner.train_dataloader, batch_idx):
                return  # that epoch's own checkpoint follows
            with self._in_mid_epoch(runner) as meta:
                self._save_kept(runner, runner.epoch, meta, by_epoch=False)
        else:
            self._save_checkpoint(runner)

    def after_train_epoch(self, runner) -> None:
        super().after_train_epoch(runner)
        if self.by_epoch and self._is_due:
            self._save_checkpoint(runner)

    def after_train(self, runner) -> None:
        if self._is_due:
            runner.logger.warning('Stopped between two steps: the gradients since are not saved.')
            step = runner.epoch if self.by_epoch else runner.iter
            self._save_kept(runner, step, dict(epoch=runner.epoch, iter=runner.iter), self.by_epoch)
        super().after_train(runner)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Leave tensors and plain Python, which are read without building types of NumPy's."""
        checkpoint.update(to_plain(checkpoint))

    def save_now(self, runner, batches: int) -> str:
        """Save after a training iteration, wherever in a pass; returns the checkpoint's path.

        Args:
            runner: The runner, in ``after_train_iter``, when the optimizer has just stepped.
            batches: How many batches of the current pass are trained.
        """
        if self._saved_iter == runner.iter + 1:
            return self.last_ckpt
        self._batches = batches
        if not self.by_epoch:
            self._save_checkpoint(runner)
            return self.last_ckpt
        with self._in_mid_epoch(runner) as meta, self._removing_later():
            self._remove_mid_epoch()
            name = f'epoch_{runner.epoch}_iter_{runner.iter + 1}.pth'
            self._save(runner, name, meta, by_epoch=False)
        return self.last_ckpt

    @contextmanager
    def _in_mid_epoch(self, runner) -> Iterator[dict]:
        """A checkpoint within it resumes behind the last batch of the pass; gives its ``meta``."""
        length = len(runner.train_dataloader)
        runner.message_hub.update_info(PROGRESS, (self._batches, length))
        yield dict(epoch=runner.epoch, iter=runner.iter + 1)
        runner.message_hub.pop_info(PROGRESS)  # not true of the next checkpoint

    def _save_checkpoint(self, runner) -> None:
        if self.by_epoch or isinstance(runner.train_loop, IterBasedTrainLoop):
            super()._save_checkpoint(runner)
            return
        # Of an iteration, in training by epochs.
        with self._in_mid_epoch(runner):
            super()._save_checkpoint(runner)

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        self._is_due = not optimizer_has_just_stepped(runner)
        if self._is_due:
            runner.logger.info('Gradients are being accumulated: saving after the next step.')
        else:
            self._save_kept(runner, step, meta, self.by_epoch)

    def _save_kept(self, runner, step: int, meta: dict, by_epoch: bool) -> None:
        """Save one of the ``max_keep_ckpts`` that are kept."""
        self._is_due = False
        with self._removing_later():
            if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
                if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                    oldest = self.filename_tmpl.format(self.keep_ckpt_ids.popleft())
                    self.file_backend.remove(self.file_backend.join_path(self.out_dir, oldest))
                self.keep_ckpt_ids.append(step)
                runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
            self._remove_mid_epoch()
            self._save(runner, self.filename_tmpl.format(step), meta, by_epoch)

    def _save_best_checkpoint(self, runner, metrics: dict) -> None:
        if self.save_best:
            self._check_finite(runner)
        with self._removing_later():
            super()._save_best_checkpoint(runner, metrics)

    def _check_finite(self, runner) -> None:
        defects = state_defects(runner)
        if defects:
            last = runner.message_hub.get_info('last_ckpt')
            hint = f'{last} is from before: go on from it by --resume' if last else 'start anew'
            raise InputError(f'iteration {runner.iter}: {defects}, and is not saved; {hint}')

    def _save(self, runner, name: str, meta: dict, by_epoch: bool) -> None:
        self._check_finite(runner)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            DurableLocalBackend().put_text(self.last_ckpt, Path(runner.work_dir, POINTER))
        self._saved_iter = meta['iter']

    def _remove_mid_epoch(self) -> None:
        for path in Path(self.out_dir).glob('epoch_*_iter_*.pth'):
            self.file_backend.remove(str(path))

    def _best_paths(self) -> list[str | None]:
        if not self.save_best:
            return []
        several = len(self.key_indicators) > 1
        return [*self.best_ckpt_path_dict.values()] if several else [self.best_ckpt_path]

    @contextmanager
    def _removing_later(self) -> Iterator[None]:
        """Remove superseded checkpoints at the end, and only if all went well."""
        if isinstance(self.file_backend, _RemoveLater):  # saving the best saves the last as well
            yield
            return
        backend, self.file_backend = self.file_backend, _RemoveLater(self.file_backend)
        try:
            with ending_together():
                yield
                kept = {self.last_ckpt, *self._best_paths()}
                if is_main_process():
                    for path in set(self.file_backend.outdated) - kept:
                        if backend.isfile(path):
                            backend.remove(path)
        finally:
            self.file_backend = backend
