"""What an exported program answers, beside what the model does."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tolerance:
    """How far an exported program may be from its model.

    Attributes:
        features: Of maps, relative to the norm of the model's own.
        pixels: Share of pixels that may have another class, where two classes score alike.
        iou: Least intersection over union of two boxes that are of one object.
        score: Of an object's scores.
        mask: Least share of an object's mask that is on the same side of a half.
        above: Score above which objects count.
        objects: Least share of objects that are found alike in both.
    """

    features: float = 1e-4
    pixels: float = 1e-3
    iou: float = 0.99
    score: float = 1e-3
    mask: float = 0.98
    above: float = 0.05
    objects: float = 1.0

    def of(self, name: str) -> float:
        """The most that :func:`differences` may give for an output."""
        return self.pixels if name == 'label_map' else self.features


EXACT = Tolerance()
# By a file's precision.
TOLERANCES = {
    'float32': EXACT,
    'fp16': Tolerance(1e-2, 1e-2, iou=0.95, score=1e-2, mask=0.95, objects=0.95),
    'int8': Tolerance(0.2, 0.1, iou=0.75, score=0.15, mask=0.85, above=0.3, objects=0.6),
}


def differences(expected: Mapping[str, np.ndarray], got: Mapping[str, np.ndarray]) -> dict:
    """How far each output is off: label maps by the share of pixels, others by the norm.

    Returns:
        By name, ``inf`` where the shapes differ or a value is not finite.
    """
    return {name: _difference(expected[name], got[name]) for name in expected}


def _difference(expected: np.ndarray, got: np.ndarray) -> float:
    if expected.shape != got.shape:
        return float('inf')
    if expected.dtype.kind != 'f':
        return float((expected != got).mean()) if expected.size else 0.0
    if not np.isfinite(got).all():
        return float('inf')
    expected = expected.astype(np.float64)
    return float(np.linalg.norm(got - expected) / max(np.linalg.norm(expected), 1e-30))
