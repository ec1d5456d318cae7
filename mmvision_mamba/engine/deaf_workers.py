"""Data loaders' workers that are not forked are deaf to signals too, as those forked are.

A signal to the whole process group would otherwise end them before the run has saved; see
:mod:`mmvision_mamba.engine.stop_signals`.
"""

import copy
import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import context, resource_tracker

from mmengine.runner import Runner
from torch.utils.data import DataLoader

from .stop_signals import SIGNALS


@contextmanager
def _blocked() -> Iterator[None]:
    """What is started meanwhile inherits blocked signals; those that come wait for the end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Deaf:
    def start(self) -> None:
        with _blocked():
            super().start()


class _SpawnProcess(_Deaf, context.SpawnProcess):
    pass


class _ForkServerProcess(_Deaf, context.ForkServerProcess):
    pass


class _SpawnContext(context.SpawnContext):
    Process = _SpawnProcess


class _ForkServerContext(context.ForkServerContext):
    Process = _ForkServerProcess


_CONTEXTS = {'spawn': _SpawnContext, 'forkserver': _ForkServerContext}


class DeafWorkers:
    """For a runner: builds data loaders whose workers leave signals to the main process."""

    @staticmethod
    def build_dataloader(dataloader: DataLoader | dict, *args, **kwargs) -> DataLoader:
        """As MMEngine's; ``multiprocessing_context`` names how workers start, as in torch."""
        if isinstance(dataloader, dict) and dataloader.get('num_workers', 0) > 0:
            method = dataloader.get('multiprocessing_context') or multiprocessing.get_start_method()
            if method in _CONTEXTS:
                with _blocked():  # started in the workers' midst it would unblock them
                    resource_tracker.ensure_running()
                dataloader = copy.copy(dataloader)
                dataloader['multiprocessing_context'] = _CONTEXTS[method]()
        return Runner.build_dataloader(dataloader, *args, **kwargs)
