"""What was computed for visitors, kept so that nothing is computed again for a slider."""

import secrets
import sys
import threading
from collections import OrderedDict
from dataclasses import dataclass, fields

import numpy as np

from ..inference.results import DetectionResult, SegmentationResult


@dataclass(frozen=True)
class Analysis:
    """An image, what a model found in it, and how long that took.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        result: In pixels of ``image``.
        name: Of the file that was uploaded.
        seconds: Of the prediction, without the wait for it.
    """

    image: np.ndarray
    result: DetectionResult | SegmentationResult
    name: str
    seconds: float

    @property
    def nbytes(self) -> int:
        """Of the arrays in it."""
        return self.image.nbytes + sum(
            _nbytes(getattr(self.result, field.name)) for field in fields(self.result)
        )


class Analyses:
    """The newest analyses, by a token that nobody guesses; the least used are let go first.

    Args:
        max_bytes: Of all that are kept; the newest one is kept whatever it takes.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, Analysis] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, analysis: Analysis) -> str:
        """Keep an analysis; returns its token."""
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._kept[token] = analysis
            while len(self._kept) > 1 and self._total() > self._max_bytes:
                self._kept.popitem(last=False)
        return token

    def get(self, token: str | None) -> Analysis | None:
        """The analysis with this token, or None if it was let go."""
        with self._lock:
            if token in self._kept:
                self._kept.move_to_end(token)
            return self._kept.get(token)

    def let_go(self, token: str | None) -> None:
        with self._lock:
            self._kept.pop(token, None)

    def __len__(self) -> int:
        return len(self._kept)

    def _total(self) -> int:
        return sum(analysis.nbytes for analysis in self._kept.values())


def _nbytes(value: object) -> int:
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, list | tuple):
        return sum(map(_nbytes, value))
    if hasattr(value, '__dict__'):  # compact masks
        return sum(map(_nbytes, vars(value).values()))
    return sys.getsizeof(value)
