"""What a run prints: little by default, while its log file holds everything.

Known noise of other packages is named here and nowhere else.
"""

import logging
import re
import sys
from collections.abc import Callable
from contextlib import ExitStack, redirect_stdout, suppress
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import TextIO

from mmengine.config import Config
from mmengine.dist import master_only
from mmengine.logging import MMLogger
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from rich.console import Console as RichConsole
from rich.progress import Progress
from rich.text import Text

from .deaf_workers import DeafWorkers
from .rank import rank_from_environment

# Of other packages, and nothing that a user of this one could act on.
NOISE = re.compile(
    '|'.join(
        [
            r'Could not import OneDL',
            r'^Using env variable ',
            r'^Loads checkpoint by .* backend from path',
            r'The (bbox|polygon) is out of bounds, the drawn',
            r'"FileClient" will be deprecated',
            r'"HardDiskBackend" is the alias',
            r'The draw is False, it means',
            r'SyncBN, use single-gpu',
            r'The prefix is not set in metric class',
            r'Setting (MKL|OMP)_NUM_THREADS environment variable',
            r'`reduce_zero_label` will be deprecated',
            r'Default ``avg_non_ignore`` is False',
            r'pkg_resources is deprecated',
            r'The pynvml package is deprecated',
            r'Importing from timm\.models\.layers is deprecated',
            r'`torch\.cuda\.amp\.\w+\(args\.\.\.\)` is deprecated',
            r'^(loading annotations into memory|creating index|index created)',
            r'^Done \(t=.*\)$|^DONE \(t=.*\)\.$',
            r'^Loading and preparing results',
            r'^(Running per image evaluation|Accumulating evaluation results|Evaluate annotation)',
        ]
    )
)
# Printed by pycocotools: the point of a test, and in training one line of metrics says it.
_TABLE = re.compile(r'^ ?Average (Precision|Recall) +\(A[PR]\)')


class Console:
    """Stands in for standard output while a command runs; a context manager.

    Shown by default are warnings, what is printed, and what :class:`ProgressHook` reports. The
    rest, named noise, and Python's warnings are in the run's log file with everything shown; what
    comes before there is a log file waits in memory for it.

    Args:
        verbose: Show everything.

    Attributes:
        current: The one that is entered, or None.
        building: Whether the first iteration is still to come, so that what fails is what the
            config asks for.
        showing_results: Whether messages of level INFO are shown, as they are in tests.
        cfg: The run's config, once it is read.
        rich: What a bar is drawn on.
        log_file: Path of the run's log file, once there is one in this process.
    """

    current: 'Console | None' = None

    def __init__(self, verbose: bool = False) -> None:
        self.verbose = verbose
        self.building = True
        self.showing_results = False
        self.cfg: Config | None = None
        self.log_file: str | None = None
        self._bar: Progress | None = None
        self._records: logging.Handler = MemoryHandler(10_000, logging.CRITICAL + 1)

    def __enter__(self) -> 'Console':
        self._stream = _Forgiving(sys.stdout)
        self.rich = RichConsole(file=self._stream)
        with ExitStack() as undo:
            undo.enter_context(redirect_stdout(_Lines(self._stream, self._take_printed)))
            undo.callback(lambda: sys.stdout.flush())
            self._take_over_warnings(undo)
            # A full disk fails the run where it is written to; not every line of the log says so.
            undo.callback(setattr, logging, 'raiseExceptions', logging.raiseExceptions)
            logging.raiseExceptions = False
            early = MMLogger.get_instance('mmengine')
            self._quieten(early, self._is_wanted, undo)
            early.addHandler(self._records)
            undo.callback(early.removeHandler, self._records)
            undo.callback(self.stop_bar)
            self._undo = undo.pop_all()
        Console.current = self
        return self

    def __exit__(self, *_) -> None:
        Console.current = None
        self._undo.close()

    def attach(self, logger: MMLogger) -> None:
        """Quieten the logger of a run, and write to its file what came before."""
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                self.log_file = handler.baseFilename
                self._records.setTarget(handler)
                self._records.close()
                self._records = handler
        if self.log_file is None:  # one process writes it
            self._records = logging.NullHandler()
        self._quieten(logger, self._is_shown, self._undo)

    def _take_over_warnings(self, undo: ExitStack) -> None:
        logging.captureWarnings(True)
        undo.callback(logging.captureWarnings, False)
        logger, handler = logging.getLogger('py.warnings'), _Warnings(self._take_warning)
        logger.addHandler(handler)
        undo.callback(logger.removeHandler, handler)
        undo.callback(setattr, logger, 'propagate', logger.propagate)
        logger.propagate = False

    def _quieten(self, logger: MMLogger, is_shown: Callable, undo: ExitStack) -> None:
        """Have what a logger shows filtered, and printed above the bar; its files are as before."""
        for handler in logger.handlers:
            if type(handler) is not logging.StreamHandler:
                continue
            if handler.stream.closed:  # of an earlier command in this process; not to be flushed
                handler.stream = self._stream
            undo.callback(handler.setStream, self._stream)
            handler.setStream(_Lines(self._stream, self.print))
            undo.callback(handler.removeFilter, is_shown)
            handler.addFilter(is_shown)
            undo.callback(handler.setLevel, handler.level)
            if rank_from_environment() > 0:
                handler.setLevel(logging.ERROR)

    def print(self, line: str) -> None:
        """Show a line, above the bar where there is one."""
        if self._bar is not None:
            self.rich.print(Text.from_ansi(line), soft_wrap=True)
        else:
            self._stream.write(f'{line}\n')
            self._stream.flush()

    def report(self, line: str) -> None:
        """Show a line and log it; of several processes the first does."""
        if rank_from_environment() == 0:
            self.print(line)
            self.log(line)

    def log(self, text: str, error: BaseException | None = None) -> None:
        """Write to the log file alone, with the traceback of ``error``."""
        level = logging.ERROR if error else logging.INFO
        fields = dict(levelno=level, levelname=logging.getLevelName(level), msg=text)
        if error:
            fields['exc_info'] = (type(error), error, error.__traceback__)
        self._records.handle(logging.makeLogRecord({'name': 'mmengine', **fields}))

    def start_bar(self, bar: Progress) -> None:
        self._bar = bar
        bar.start()

    def stop_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _take_printed(self, line: str) -> None:
        self.log(line)
        hidden = NOISE.search(line) or (_TABLE.search(line) and not self.showing_results)
        if self.verbose or not hidden:
            self.print(line)

    def _take_warning(self, text: str) -> None:
        self.log(text)
        if self.verbose or (rank_from_environment() == 0 and not NOISE.search(text)):
            self.print(text)

    def _is_wanted(self, record: logging.LogRecord) -> bool:
        return self.verbose or not NOISE.search(record.getMessage())

    def _is_shown(self, record: logging.LogRecord) -> bool:
        if self.verbose or record.levelno >= logging.WARNING:
            return self._is_wanted(record)
        # The progress hook says what LoggerHook logs.
        return self.showing_results and record.module != 'logger_hook' and self._is_wanted(record)


class ConsoleLogger:
    """For what builds the logger of a run: has the console attached to it from its first line."""

    def build_logger(self, *args, **kwargs) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        if Console.current is not None:
            Console.current.attach(logger)
        return logger


@RUNNERS.register_module()
class ConsoleRunner(ConsoleLogger, DeafWorkers, Runner):
    """MMEngine's Runner, as quiet as the console that it runs in."""


@RUNNERS.register_module()
class TestingRunner(ConsoleRunner):
    """A runner that leaves the config in the work dir as training wrote it."""

    @master_only
    def dump_config(self) -> None:
        """Write the config that is tested beside the log of the test."""
        self.cfg.dump(Path(self.log_dir, Path(self.cfg.filename or 'config.py').name))


class _Forgiving:
    """An output stream that may be closed, as by ``| head``, without ending a run of days."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str):
        return getattr(self._stream, name)


class _Lines:
    """An output stream that hands on whole lines; what else it is asked, the real one answers."""

    def __init__(self, stream: TextIO, take: Callable[[str], None]) -> None:
        self._stream = stream
        self._take = take
        self._rest = ''

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split('\n')
        for line in lines:
            self._take(line)
        return len(text)

    def flush(self) -> None:
        if self._rest:
            self._stream.write(self._rest)
            self._rest = ''
        self._stream.flush()

    def __getattr__(self, name: str):
        return getattr(self._stream, name)


class _Warnings(logging.Handler):
    """Hands on the text of Python's warnings, without the line of code that follows it."""

    def __init__(self, take: Callable[[str], None]) -> None:
        super().__init__()
        self._take = take

    def emit(self, record: logging.LogRecord) -> None:
        self._take(record.getMessage().strip().rsplit('\n  ', 1)[0])
