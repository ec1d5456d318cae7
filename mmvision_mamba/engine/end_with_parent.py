"""No orphans: a process ends when the one that started it does, however that ended."""

import ctypes
import os
import signal
import sys
import threading
import time

AGENT = 'MMVISION_AGENT_PID'  # set by tools/launch.py
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_libc = ctypes.CDLL(None)


def end_with_parent(parent: int) -> None:
    """Have this process killed when its parent dies, or now if it has died already.

    Args:
        parent: Its process id.
    """
    if sys.platform == 'linux':
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=watch, args=[parent], daemon=True).start()
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def watch(parent: int, seconds: float = 1.0) -> None:
    """Kill this process when it has another parent; for systems that do not do so themselves."""
    while os.getppid() == parent:
        time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


def end_with_agent() -> None:
    """Under torchrun, end with its agent: who is left would train on, beside a new run."""
    if 'TORCHELASTIC_RUN_ID' in os.environ:
        end_with_parent(int(os.environ.get(AGENT, os.getppid())))
