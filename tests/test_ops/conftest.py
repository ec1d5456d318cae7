"""The instruction sets that the C++ kernels are tested in."""

import pytest

from mmvision_mamba.ops import cpu, library

INSTRUCTION_SETS = () if cpu.unavailable() else library.instruction_sets()


@pytest.fixture(params=INSTRUCTION_SETS)
def instruction_set(request, monkeypatch) -> str:
    upto = INSTRUCTION_SETS[: INSTRUCTION_SETS.index(request.param) + 1]
    monkeypatch.setattr(library, 'instruction_sets', lambda: upto)
    return request.param
