"""What an exported program answers, beside what the model does."""

from collections.abc import Mapping

import numpy as np

# Of the norm of the model's own maps.
FEATURES = 1e-4
# Share of pixels that may have another class, where two classes score alike.
PIXELS = 1e-3


def differences(expected: Mapping[str, np.ndarray], got: Mapping[str, np.ndarray]) -> dict:
    """How far each output is off: label maps by the share of pixels, others by the norm.

    Returns:
        By name, ``inf`` where the shapes differ or a value is not finite.
    """
    return {name: _difference(expected[name], got[name]) for name in expected}


def tolerance(name: str) -> float:
    """The most that :func:`differences` may give for an output."""
    return PIXELS if name == 'label_map' else FEATURES


def _difference(expected: np.ndarray, got: np.ndarray) -> float:
    if expected.shape != got.shape:
        return float('inf')
    if expected.dtype.kind != 'f':
        return float((expected != got).mean()) if expected.size else 0.0
    if not np.isfinite(got).all():
        return float('inf')
    expected = expected.astype(np.float64)
    return float(np.linalg.norm(got - expected) / max(np.linalg.norm(expected), 1e-30))
