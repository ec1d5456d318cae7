"""torchrun, which asks its processes to stop as it is asked itself, and ends as they end.

torchrun's own agent, on SIGTERM, gives its processes 30 seconds, and reports a failure.
"""

import os
import signal
import sys
import threading
from contextlib import suppress

from start_up import SIGNALS, say


def main() -> None:
    # Processes inherit this, and unblock them when they can tell what to do.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    os.environ['MMVISION_AGENT_PID'] = str(os.getpid())
    threading.Thread(target=pass_on, daemon=True).start()
    from torch.distributed import run  # takes a second

    run.main(['--signals-to-handle=SIGQUIT', *sys.argv[1:]])


def pass_on() -> None:
    """Wait for a signal, and pass it on until all is ended; end at once on a second Ctrl-C."""
    import psutil

    number = signal.Signals(signal.sigwait(SIGNALS))
    workers = psutil.Process().children()
    if not workers:
        say(f'{number.name}: ended before a process was started.')
        os._exit(0)
    while True:
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.send_signal(number)
        again = signal.sigtimedwait(SIGNALS, 1.0)
        if again is not None and again.si_signo == signal.SIGINT:
            os._exit(128 + signal.SIGINT)  # the processes end with this one
        if not set(psutil.Process().children()) <= set(workers):
            os._exit(1)  # one failed instead of stopping, and all are started again


if __name__ == '__main__':
    main()
