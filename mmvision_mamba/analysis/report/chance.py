"""Whether a difference of two models may be chance: the paired bootstrap over images."""

from dataclasses import dataclass

import numpy as np

_SEED = 0


def draw_images(images: int, draws: int) -> np.ndarray:
    """(draws, images) int16: how often each image is drawn, with replacement; always the same."""
    rng = np.random.default_rng(_SEED)
    weights = np.zeros((draws, images), np.int16)
    for row in weights:
        row[:] = np.bincount(rng.integers(images, size=images), minlength=images)
    return weights


@dataclass(frozen=True)
class Difference:
    """A model's figure less another's.

    Attributes:
        value: On all images.
        low, high: Between them it is in 95 % of the draws (Efron's percentiles); NaN where no draw
            has both figures.
    """

    value: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether 0 is outside."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f'{self.value:+.3f} ({self.low:+.3f} to {self.high:+.3f})'


def difference(value: float, draws: np.ndarray) -> Difference:
    """The interval of a difference.

    Args:
        value: On all images.
        draws: (draws,) differences; NaN where there is none.
    """
    draws = draws[~np.isnan(draws)]
    if not len(draws):
        return Difference(float(value), np.nan, np.nan)
    low, high = np.percentile(draws, [2.5, 97.5])
    return Difference(float(value), float(low), float(high))
