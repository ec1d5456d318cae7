"""Time and memory of a call, on the CPU or a GPU."""

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.profiler import ProfilerActivity, profile

# Without a GPU, a CUDA build of torch calls that an error whenever a profile begins.
os.environ.setdefault('KINETO_LOG_LEVEL', '99')


def seconds(call: Callable[[], object], device: str) -> float:
    """Seconds that one call takes, until the device (``'cpu'`` or ``'cuda'``) is done with it."""
    start = _now(device)
    call()
    return _now(device) - start


def added_bytes(call: Callable[[], object], device: str) -> int:
    """The most bytes that torch had allocated during a call, beyond those before it."""
    if device == 'cuda':
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return torch.cuda.max_memory_allocated() - before
    # The CPU keeps no such counter, and a process's resident size depends on what malloc gives
    # back; but the profiler records every allocation (positive) and release (negative).
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as run:
        call()
    events = [e for e in run.profiler.kineto_results.events() if e.name() == '[memory]']
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


class Stopwatch:
    """Seconds by name. Of spans within each other, each has what is not of a span within it.

    On a GPU the device is waited for at both ends of every span.

    Args:
        device: ``'cpu'`` or ``'cuda'``.

    Attributes:
        seconds: By name, of all spans that have ended.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.seconds: dict[str, float] = defaultdict(float)
        self._names: list[str] = []
        self._since = 0.0

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        self._pass_time()
        self._names.append(name)
        try:
            yield
        finally:
            self._pass_time()
            self._names.pop()

    def _pass_time(self) -> None:
        now = _now(self.device)
        if self._names:
            self.seconds[self._names[-1]] += now - self._since
        self._since = now


def _now(device: str) -> float:
    if device == 'cuda':
        torch.cuda.synchronize()
    return time.perf_counter()
