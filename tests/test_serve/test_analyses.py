"""Results are kept for drawing them again, within bounds."""

import numpy as np

from mmvision_mamba.inference.results import SegmentationResult
from mmvision_mamba.serve.analyses import Analyses, Analysis


def analysis(side):
    """Of 4 * side**2 bytes and some."""
    result = SegmentationResult(
        image_size=(side, side),
        class_names=('sky',),
        palette=np.zeros((1, 3), np.uint8),
        label_map=np.zeros((side, side), np.uint8),
    )
    return Analysis(np.zeros((side, side, 3), np.uint8), result, 'a.png', 0.1)


def test_an_analysis_is_found_by_its_token_alone():
    kept, one, other = Analyses(10**6), analysis(10), analysis(10)
    tokens = kept.keep(one), kept.keep(other)
    assert kept.get(tokens[0]) is one
    assert kept.get(tokens[1]) is other
    assert kept.get(None) is None
    assert kept.get('') is None
    assert min(map(len, tokens)) >= 32


def test_those_that_were_not_used_for_longest_make_room():
    kept = Analyses(3 * 4 * 100**2 + 10_000)
    first, second, third = (kept.keep(analysis(100)) for _ in range(3))
    kept.get(first)
    fourth = kept.keep(analysis(100))
    assert kept.get(second) is None
    assert None not in map(kept.get, (first, third, fourth))


def test_one_that_fills_all_room_is_kept_alone():
    kept = Analyses(1000)
    kept.keep(analysis(10))
    large = kept.keep(analysis(100))
    assert kept.get(large) is not None
    assert len(kept) == 1


def test_one_that_is_let_go_is_gone():
    kept = Analyses(10**6)
    token = kept.keep(analysis(10))
    kept.let_go(token)
    kept.let_go(token)
    kept.let_go(None)
    assert kept.get(token) is None
    assert len(kept) == 0
