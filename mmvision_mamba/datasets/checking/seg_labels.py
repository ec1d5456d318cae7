"""Whether the labels in seg maps begin where ``reduce_zero_label`` says."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .images import IGNORED, read_labels

_MAPS = 100  # to look at; those of ADE20K take about a second


def begin_at_zero(paths: Sequence[str | Path], classes: int) -> bool:
    """Whether seg maps that are read with ``reduce_zero_label`` seem made to be read without.

    With it 0 is unlabelled and the last class has the label ``classes``. Where both 0 and 255 are
    used, and that label nowhere, 0 is the first class and 255 the unlabelled.

    Args:
        paths: Of seg maps, of which up to 100 are read, from first to last; unreadable ones count
            for nothing.
        classes: How many there are.
    """
    seen = set()
    for index in np.linspace(0, len(paths) - 1, min(len(paths), _MAPS), dtype=int):
        seen.update(read_labels(str(paths[index])).tolist())
    return {0, IGNORED} <= seen and classes not in seen
