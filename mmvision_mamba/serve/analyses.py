"""What was computed for visitors, kept so that nothing is computed again for a slider."""

import pickle
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from ..inference.results import DetectionResult, SegmentationResult


@dataclass(frozen=True, eq=False)
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


class Analyses:
    """The newest analyses, by a token that nobody guesses; the least used are let go first.

    Args:
        max_bytes: Of all that are kept; the newest one is kept whatever it takes.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, tuple[Analysis, int]] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, analysis: Analysis) -> str:
        """Keep an analysis; returns its token."""
        token = secrets.token_urlsafe(24)
        # Masks are kept in the form of another package, which does not say how long it is.
        size = analysis.image.nbytes + len(pickle.dumps(analysis.result))
        with self._lock:
            self._kept[token] = analysis, size
            while len(self._kept) > 1 and self._total() > self._max_bytes:
                self._kept.popitem(last=False)
        return token

    def get(self, token: str | None) -> Analysis | None:
        """The analysis with this token, or None if it was let go."""
        with self._lock:
            if token not in self._kept:
                return None
            self._kept.move_to_end(token)
            return self._kept[token][0]

    def let_go(self, token: str | None) -> None:
        """Forget an analysis, if it is still kept."""
        with self._lock:
            self._kept.pop(token, None)

    def __len__(self) -> int:
        return len(self._kept)

    def _total(self) -> int:
        return sum(size for _, size in self._kept.values())
