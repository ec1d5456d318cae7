"""Whether `make test-sanitize` sees an error in a kernel: one is made to read too far."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmvision_mamba.ops import cpp_library

pytestmark = [
    pytest.mark.skipif('ASAN_OPTIONS' not in os.environ, reason='for make test-sanitize'),
    pytest.mark.skipif(isinstance(cpp_library.load(), str), reason='no C++ kernels'),
]
TOO_FAR = """
import ctypes, sys, torch
from mmvision_mamba.ops import cpp_library

rows, told, instruction_set = 64, int(sys.argv[1]), int(sys.argv[2])
x, y = torch.zeros(rows, 16), torch.zeros(rows + 1, 16)
channel = [torch.ones(16, dtype=torch.float32) for _ in range(4)]
weight, bias, mean, var = (tensor.data_ptr() for tensor in channel)
arguments = cpp_library.BatchNormArguments(
    rows=told, channels=16, threads=1, eps=1e-5, x=x.data_ptr(), y=y.data_ptr(),
    weight=weight, bias=bias, mean=mean, var=var,
)
kernel = cpp_library.load().mmvision_batch_norm_forward
kernel(ctypes.c_int64(instruction_set), ctypes.byref(arguments))
print('ran to its end')
"""
SETS = [] if isinstance(cpp_library.load(), str) else cpp_library.instruction_sets()


def run(rows: int, instruction_set: str, folder: Path) -> subprocess.CompletedProcess:
    number = cpp_library.INSTRUCTION_SETS.index(instruction_set)
    command = [sys.executable, '-c', TOO_FAR, str(rows), str(number)]
    # In another folder than this, whose package, of the normal library, would come first.
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize('instruction_set', SETS)
def test_a_kernel_that_reads_one_row_too_far_is_ended_with_a_report(instruction_set, tmp_path):
    sound = run(64, instruction_set, tmp_path)
    assert 'ran to its end' in sound.stdout, sound.stderr
    caught = run(65, instruction_set, tmp_path)
    assert 'heap-buffer-overflow' in caught.stderr
    assert 'ran to its end' not in caught.stdout
