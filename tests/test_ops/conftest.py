"""The instruction sets that the C++ kernels are tested in."""

import pytest

from mmvision_mamba.ops import cpp_library
from mmvision_mamba.ops.scan import cpu

INSTRUCTION_SETS = () if cpu.unavailable() else cpp_library.instruction_sets()


@pytest.fixture(params=INSTRUCTION_SETS)
def instruction_set(request, monkeypatch) -> str:
    upto = INSTRUCTION_SETS[: INSTRUCTION_SETS.index(request.param) + 1]
    monkeypatch.setattr(cpp_library, 'instruction_sets', lambda: upto)
    return request.param
