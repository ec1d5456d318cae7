"""Signals while a tool starts, of which its imports take seconds. Of the standard library alone."""

import os
import signal
from contextlib import suppress

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def end_at_once(what: str, status: int) -> None:
    """Have the first of the signals end this process, in one sentence.

    Args:
        what: Said behind the name of the signal.
        status: Exit status.
    """
    started = os.getpid()

    def end(number: int, _) -> None:
        # Processes that it forks say nothing, nor do others of torchrun's.
        if os.getpid() == started and os.environ.get('RANK', '0') == '0':
            say(f'{signal.Signals(number).name}: {what}.')
        os._exit(status)

    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # tools/launch.py has them blocked


def say(sentence: str) -> None:
    """Print from a signal's handler, which print() may be in the middle of."""
    with suppress(OSError):  # a closed terminal takes nothing
        os.write(2, f'\n{sentence}\n'.encode())
