"""A split into images to train on and images to validate on, where a folder has none."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from ...errors import InputError

T = TypeVar('T')
VAL_SHARE = 0.2
SEED = 0
_SHUFFLES = 100


def divide(images: Sequence[T], labels: Sequence[frozenset]) -> tuple[list[T], list[T]]:
    """Shuffle images by a seed, and hold a fifth of them out, one at least.

    Of a hundred shuffles the first is taken that leaves fewest classes out of either part.

    Args:
        images: In an order that depends on the data alone.
        labels: The classes in each.

    Raises:
        InputError: There are fewer than two.
    """
    if len(images) < 2:
        raise InputError(
            f'{len(images)} image with labels: two at least are needed, one to train on and one to '
            'validate on'
        )
    held_out = max(1, round(VAL_SHARE * len(images)))
    generator = np.random.default_rng(SEED)
    every = frozenset().union(*labels)
    best, fewest = None, None
    for _ in range(_SHUFFLES):
        order = generator.permutation(len(images)).tolist()
        parts = order[held_out:], order[:held_out]
        missing = sum(len(every.difference(*(labels[number] for number in part))) for part in parts)
        if fewest is None or missing < fewest:
            best, fewest = parts, missing
        if not missing:
            break
    train, val = ([images[number] for number in sorted(part)] for part in best)
    return train, val
