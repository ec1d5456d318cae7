"""Signals that ask a run to stop: noted when they come, acted on where nothing is lost.

SIGTERM comes from a scheduler, SIGINT from Ctrl-C, SIGHUP from a terminal that was closed. They may
come to the whole process group: processes that are forked meanwhile (data loaders' workers) are
deaf to them, and end with the process that forked them.
"""

import atexit
import multiprocessing.util  # its own exit function is to run after the one below
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress

from .end_with_parent import end_with_parent
from .rank import rank_from_environment

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_received: signal.Signals | None = None
_holding = False
_meanwhile = ''


def received() -> signal.Signals | None:
    """The first signal that came while they were held, or None."""
    return _received


def hold(meanwhile: str = 'training ends once saved') -> Callable[[], None]:
    """Only note signals from now on; a second Ctrl-C, though, ends the process at once.

    What is ignored (by nohup, say) stays so. To be called in the main thread.

    Args:
        meanwhile: What is said to happen when Ctrl-C comes.

    Returns:
        What undoes it, where the signals were not handled before.
    """
    global _holding, _meanwhile
    if _holding:
        return lambda: None
    _holding, _meanwhile = True, meanwhile
    atexit.register(_at_exit)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, how in before.items():
        if how != signal.SIG_IGN:
            signal.signal(number, _note)
    # tools/launch.py starts processes with these blocked, so that none is lost until now.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    return lambda: _release(before)


def _release(before: dict[signal.Signals, object]) -> None:
    global _holding
    defaults = signal.SIG_DFL, signal.default_int_handler
    if any(how in defaults for how in before.values()):
        _holding = False
        for number, how in before.items():
            if how is not None:  # not Python's
                signal.signal(number, how)


def _note(number: int, _) -> None:
    global _received
    _received = _received or signal.Signals(number)
    if number == signal.SIGINT:
        # torchrun's agent passes the same one on, and ends on a second, with its processes;
        # elsewhere the system ends this one, in the middle of C code too.
        under_agent = 'TORCHELASTIC_RUN_ID' in os.environ
        signal.signal(signal.SIGINT, signal.SIG_IGN if under_agent else signal.SIG_DFL)
        if rank_from_environment() == 0:
            with suppress(OSError):  # a closed terminal takes nothing
                # Not by print, which may be what was interrupted.
                os.write(2, f'\nCtrl-C: {_meanwhile}; a second one ends it at once.\n'.encode())


def _at_exit() -> None:
    for number in SIGNALS:
        if signal.getsignal(number) is _note:  # for which Python puts the system's handler, to die
            signal.signal(number, signal.SIG_IGN)
    # multiprocessing waits for workers that it has sent the SIGTERM to which they are deaf.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's calls their end an error
    for child in multiprocessing.active_children():
        child.kill()


class _Fork:
    """What surrounds a fork while signals are held."""

    parent: int | None = None

    def before(self) -> None:
        # A worker is not to die in the moment before it knows better.
        if _holding and threading.current_thread() is threading.main_thread():
            self.parent = os.getpid()
            self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def after_in_parent(self) -> None:
        if self.parent is not None:
            self.parent = None
            signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)

    def after_in_child(self) -> None:
        # The signals stay blocked, whatever handlers torch and multiprocessing set.
        if self.parent is not None:
            end_with_parent(self.parent)


_fork = _Fork()
os.register_at_fork(
    before=_fork.before,
    after_in_parent=_fork.after_in_parent,
    after_in_child=_fork.after_in_child,
)
