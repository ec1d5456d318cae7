"""How far a prediction is: a bar on a terminal, lines in a file or a pipe."""

import time
from datetime import timedelta

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ...engine.console import Console

_SECONDS_BETWEEN_LINES = 30.0
_SECONDS_BETWEEN_REFRESHES = 0.2


class ImageProgress:
    """Counts images on a console; a context manager.

    Args:
        console: Where it is shown.
        total: How many images and frames there are; None where no one knows.
    """

    def __init__(self, console: Console, total: int | None) -> None:
        self.console = console
        self.total = total
        self.done = 0
        self._bar: Progress | None = None

    def __enter__(self) -> 'ImageProgress':
        self._started = time.monotonic()
        self._shown = 0.0
        if self.console.rich.is_terminal:
            columns = (
                TextColumn('Predicting'),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TextColumn('{task.fields[facts]}'),
            )
            self._bar = Progress(
                *columns,
                console=self.console.rich,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._task = self._bar.add_task('', total=self.total, facts='')
            self.console.start_bar(self._bar)
        return self

    def __exit__(self, *_) -> None:
        self.console.stop_bar()

    def advance(self) -> None:
        """Count an image, and show it where the last one shown is long enough ago."""
        self.done += 1
        now = time.monotonic()
        if self._bar is not None:
            if now - self._shown > _SECONDS_BETWEEN_REFRESHES:
                self._bar.update(
                    self._task, completed=self.done, facts=self._facts(now), refresh=True
                )
                self._shown = now
        elif self._shown == 0.0 or now - self._shown > _SECONDS_BETWEEN_LINES:
            total = '' if self.total is None else f'/{self.total}'
            self.console.print(f'Predicted {self.done}{total} images  {self._facts(now)}')
            self._shown = now

    def _facts(self, now: float) -> str:
        rate = self.done / max(now - self._started, 1e-9)
        facts = f'images/s: {rate:.1f}'
        if self.total is not None:
            facts += f'  eta: {timedelta(seconds=int((self.total - self.done) / rate))}'
        return facts
