"""Checkpoints of which a whole one is on disk at any moment, whenever the run is stopped."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS

from ...checkpoints.durable_files import PARTIAL, DurableLocalBackend
from ...checkpoints.plain import to_plain
from ...checkpoints.resume import POINTER
from ..loops import PROGRESS


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

    Args: As MMEngine's ``CheckpointHook``.
    """

    def before_train(self, runner) -> None:
        super().before_train(runner)
        if is_main_process():
            for partial in Path(self.out_dir).glob(f'*.pth.*{PARTIAL}'):
                partial.unlink(missing_ok=True)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Leave tensors and plain Python, which are read without building types of NumPy's."""
        checkpoint.update(to_plain(checkpoint))

    def save_now(self, runner, batches: int) -> str:
        """Save after a training iteration, wherever in a pass; returns the checkpoint's path.

        Args:
            runner: The runner, in ``after_train_iter``.
            batches: How many batches of the current pass are trained.
        """
        if not self.by_epoch:
            self._save_checkpoint(runner)
            return self.last_ckpt
        length = len(runner.train_dataloader)
        runner.message_hub.update_info(PROGRESS, (batches, length))
        with self._removing_later():
            self._remove_mid_epoch()
            name = f'epoch_{runner.epoch}_iter_{runner.iter + 1}.pth'
            meta = dict(epoch=runner.epoch, iter=runner.iter + 1)
            self._save(runner, name, meta, by_epoch=False)
        runner.message_hub.pop_info(PROGRESS)  # not true of the next checkpoint
        return self.last_ckpt

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        with self._removing_later():
            if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
                if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                    oldest = self.filename_tmpl.format(self.keep_ckpt_ids.popleft())
                    self.file_backend.remove(self.file_backend.join_path(self.out_dir, oldest))
                self.keep_ckpt_ids.append(step)
                runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
            self._remove_mid_epoch()
            self._save(runner, self.filename_tmpl.format(step), meta, self.by_epoch)

    def _save_best_checkpoint(self, runner, metrics: dict) -> None:
        with self._removing_later():
            super()._save_best_checkpoint(runner, metrics)

    def _save(self, runner, name: str, meta: dict, by_epoch: bool) -> None:
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
            yield
            kept = {self.last_ckpt, *self._best_paths()}
            if is_main_process():
                for path in set(self.file_backend.outdated) - kept:
                    if backend.isfile(path):
                        backend.remove(path)
        finally:
            self.file_backend = backend
