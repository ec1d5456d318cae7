"""How far a prediction is: a bar on a terminal, lines in a file."""

import io
import re
from types import SimpleNamespace

import pytest
from rich.console import Console as RichConsole

from mmvision_mamba.inference.files import progress
from mmvision_mamba.inference.files.progress import ImageProgress


class Screen:
    """As :class:`mmvision_mamba.engine.console.Console` shows lines and a bar."""

    def __init__(self, is_terminal: bool) -> None:
        self.text = io.StringIO()
        self.rich = RichConsole(file=self.text, force_terminal=is_terminal, width=100)
        self.bar = None

    def print(self, line: str) -> None:
        self.text.write(f'{line}\n')

    def start_bar(self, bar) -> None:
        self.bar = bar
        bar.start()

    def stop_bar(self) -> None:
        if self.bar is not None:
            self.bar.stop()


@pytest.fixture
def clock(monkeypatch):
    """The module's own time, not the bar's: it moves by a second when it is read."""
    seconds = iter(range(1000, 10_000))
    monkeypatch.setattr(progress, 'time', SimpleNamespace(monotonic=lambda: float(next(seconds))))


def test_in_a_file_a_line_comes_after_the_first_image_and_then_every_half_minute(clock):
    screen = Screen(is_terminal=False)
    with ImageProgress(screen, 100) as shown:
        for _ in range(100):
            shown.advance()
    lines = screen.text.getvalue().splitlines()
    assert lines[0] == 'Predicted 1/100 images  images/s: 1.0  eta: 0:01:39'
    assert lines[1] == 'Predicted 32/100 images  images/s: 1.0  eta: 0:01:08'
    assert len(lines) == 4


def test_on_a_terminal_a_bar_shows_images_a_second_and_the_time_left(clock):
    screen = Screen(is_terminal=True)
    with ImageProgress(screen, 20) as shown:
        for _ in range(10):
            shown.advance()
    text = re.sub(r'\x1b\[[0-9;?]*[a-zA-Z]', '', screen.text.getvalue())
    assert '10/20 images/s: 1.0  eta: 0:00:10' in text


def test_of_an_unknown_number_no_end_is_foretold(clock):
    screen = Screen(is_terminal=False)
    with ImageProgress(screen, None) as shown:
        shown.advance()
    assert screen.text.getvalue() == 'Predicted 1 images  images/s: 1.0\n'
