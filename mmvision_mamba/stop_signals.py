"""Signals that ask a training to stop: noted when they come, acted on where nothing is lost.

SIGTERM comes from a scheduler, SIGINT from Ctrl-C, SIGHUP from a terminal that was closed. They may
come to the whole process group: processes that are forked while these are heeded (data loaders'
workers) are deaf to them, and end with the process that forked them.
"""

import atexit
import multiprocessing.util  # its own exit function is to run after the one below
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress

from .end_with_parent import end_with_parent

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
NOTHING_TO_SAVE = (
    'nothing is trained yet; --resume goes on from the last checkpoint, and starts anew where '
    'there is none'
)

_received: signal.Signals | None = None
_heeding = False
_last_words: tuple[str, int] | None = None  # what to say before ending at once, exit status


def received() -> str | None:
    """The name of the first signal that came, or None."""
    return _received and _received.name


def end_at_once(what: str = NOTHING_TO_SAVE, status: int = 0) -> None:
    """End this process on the first signal, until :func:`hold` is called.

    Args:
        what: Said before, behind the name of the signal.
        status: Exit status.
    """
    global _last_words
    _last_words = what, status
    _heed()


def hold() -> Callable[[], None]:
    """Only note signals from now on; a second Ctrl-C, though, ends the process at once.

    Returns:
        What undoes it, where nobody had called :func:`end_at_once`.
    """
    global _last_words
    _last_words = None
    previous = _heed()
    return lambda: _restore(previous)


def _heed() -> dict[signal.Signals, object]:
    """Handle the signals that the caller's caller (nohup, say) does not have ignored."""
    global _heeding
    if _heeding:
        return {}
    _heeding = True
    atexit.register(_at_exit)
    previous = {number: signal.getsignal(number) for number in SIGNALS}
    previous = {number: how for number, how in previous.items() if how != signal.SIG_IGN}
    for number in previous:
        signal.signal(number, _note)
    # tools/launch.py starts processes with these blocked, so that none is lost until now.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    return previous


def _restore(previous: dict[signal.Signals, object]) -> None:
    global _heeding
    for number, how in previous.items():
        signal.signal(number, how)
    _heeding = _heeding and not previous


def _note(number: int, _) -> None:
    global _received
    _received = _received or signal.Signals(number)
    if _last_words:
        what, status = _last_words
        _say(f'{_received.name}: {what}.')
        os._exit(status)
    if number == signal.SIGINT:
        # torchrun's agent passes the same one on, and ends on a second, with its processes;
        # elsewhere the system ends this one, in the middle of C code too.
        under_agent = 'TORCHELASTIC_RUN_ID' in os.environ
        signal.signal(signal.SIGINT, signal.SIG_IGN if under_agent else signal.SIG_DFL)
        _say('Ctrl-C: training ends when it is saved; a second one ends it at once.')


def _say(sentence: str) -> None:
    """Print, in the first of several processes; print() itself may be what was interrupted."""
    if os.environ.get('RANK', '0') == '0':
        with suppress(OSError):  # a closed terminal takes nothing
            os.write(2, f'\n{sentence}\n'.encode())


class _Fork:
    """What surrounds a fork while signals are heeded."""

    parent = None
    mask = ()

    def before(self) -> None:
        # A worker is not to die in the moment before it knows better.
        if _heeding and threading.current_thread() is threading.main_thread():
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


def _at_exit() -> None:
    for number in SIGNALS:
        if signal.getsignal(number) is _note:  # for which Python puts the system's handler, to die
            signal.signal(number, signal.SIG_IGN)
    # multiprocessing waits for workers that it has sent the SIGTERM to which they are deaf.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's calls their end an error
    for child in multiprocessing.active_children():
        child.kill()


_fork = _Fork()
os.register_at_fork(
    before=_fork.before,
    after_in_parent=_fork.after_in_parent,
    after_in_child=_fork.after_in_child,
)
