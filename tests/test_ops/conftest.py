"""The instruction sets that the C++ kernels are tested in, and recorded scans."""

from pathlib import Path

import numpy as np
import pytest

from mmvision_mamba.ops import cpp_library
from mmvision_mamba.ops.scan import cpu

INSTRUCTION_SETS = () if cpu.unavailable() else cpp_library.instruction_sets()


@pytest.fixture(params=INSTRUCTION_SETS)
def instruction_set(request, monkeypatch) -> str:
    upto = INSTRUCTION_SETS[: INSTRUCTION_SETS.index(request.param) + 1]
    monkeypatch.setattr(cpp_library, 'instruction_sets', lambda: upto)
    return request.param


@pytest.fixture
def recorded_scan(shared_if_present):
    """Arrays by name, float64: inputs of the scan by tag, its output and gradients."""
    recorded = Path(__file__).with_name('recorded_scan.npz')  # of the smallest, in this repository

    def find(tag: str):
        if shared_if_present:
            return np.load(shared_if_present / 'fixtures' / 'selective_scan.npz')
        if tag == 'small':
            return np.load(recorded)
        pytest.skip('needs ../shared/fixtures/selective_scan.npz')

    return find
