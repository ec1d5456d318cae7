"""The scan's Triton kernels, compiled for GPUs that need not be there: registers and spills.

    python benchmarks/scan_kernels.py

Prints a table and writes it to ``benchmarks/results/scan_kernels.json``.
NVIDIA's are counted by the assembler that comes with triton, AMD's by its compiler.
"""

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import triton
from rich.console import Console
from rich.table import Table
from triton.backends.compiler import GPUTarget

from mmvision_mamba.ops.scan import triton as triton_scan

TARGETS = ('sm_80', 'sm_90', 'sm_100', 'gfx942')
RECORDED = Path(__file__).parent / 'results' / 'scan_kernels.json'
KERNELS = ('_summarise', '_combine', '_output', '_gradient')
_TYPES = {torch.float16: '*fp16', torch.bfloat16: '*bf16', torch.float32: '*fp32'}


class _Recorder:
    """Stands for a kernel and keeps the arguments of its launches."""

    def __init__(self, kernel) -> None:
        self.kernel, self.launches = kernel, []

    def __getitem__(self, grid):
        return lambda *values, **constants: self.launches.append((values, constants))

    def sources(self) -> Iterator[tuple]:
        """Each launch as Triton would specialise and compile it."""
        for values, constants in self.launches:
            options = {'num_warps': constants.pop('num_warps')}
            signature, attributes = dict.fromkeys(constants, 'constexpr'), {}
            for i, (parameter, value) in enumerate(zip(self.kernel.params, values)):
                if torch.is_tensor(value):
                    signature[parameter.name] = _TYPES[value.dtype]
                elif value is None or (value == 1 and not parameter.do_not_specialize):
                    signature[parameter.name], constants[parameter.name] = 'constexpr', value
                else:
                    signature[parameter.name] = 'i32'
                if torch.is_tensor(value) or (value and value % 16 == 0):
                    attributes[(i,)] = [['tt.divisibility', 16]]
            yield triton.compiler.ASTSource(self.kernel, signature, constants, attributes), options


@contextmanager
def _recording() -> Iterator[dict[str, _Recorder]]:
    """No kernel is launched meanwhile; what would have been is recorded, by kernel."""
    kernels = {name: getattr(triton_scan, name) for name in KERNELS}
    recorders = {name: _Recorder(kernel) for name, kernel in kernels.items()}
    try:
        for name, recorder in recorders.items():
            setattr(triton_scan, name, recorder)
        yield recorders
    finally:
        for name, kernel in kernels.items():
            setattr(triton_scan, name, kernel)


def arguments(
    batch: int, length: int, dim: int, state: int, dtype: torch.dtype, vectors: bool = True
) -> dict:
    """Of ``triton_scan.forward``, on the CPU; ``vectors``: whether D and delta_bias are given."""
    x, matrix = torch.zeros(batch, length, dim), torch.zeros(batch, length, 1, state)
    vector = torch.zeros(dim) if vectors else None
    return dict(
        u=x.to(dtype),
        delta=x.to(dtype),
        A=torch.zeros(dim, state),
        B=matrix.to(dtype),
        C=matrix.to(dtype),
        D=vector,
        delta_bias=vector,
        delta_softplus=True,
    )


def resources(target: str, given: dict) -> list[dict]:
    """Registers of a lane, and spills, of each kernel of a forward and a backward pass.

    Args:
        target: Such as ``sm_90`` (of NVIDIA) or ``gfx942`` (of AMD).
        given: As by :func:`arguments`.

    Returns:
        Rows of ``pass``, ``kernel``, ``target``, ``registers`` and ``spilled`` (bytes of a lane
        that are stored and loaded again; on AMD, vector registers).
    """
    device = GPUTarget('hip', target, 64)
    if target.startswith('sm_'):
        device = GPUTarget('cuda', int(target[3:]), 32)
    rows = []
    for name, run in (
        ('forward', lambda: triton_scan.forward(**given)),
        ('backward', lambda: triton_scan.backward(given['u'], **given)),
    ):
        with _recording() as recorders:
            run()
        for kernel, recorder in recorders.items():
            counts = [
                _count(triton.compile(source, target=device, options=options))
                for source, options in recorder.sources()
            ]
            if counts:
                registers, spilled = map(max, zip(*counts))
                rows.append(
                    {'pass': name, 'kernel': kernel, 'target': target}
                    | dict(registers=registers, spilled=spilled)
                )
    return rows


def _count(kernel) -> tuple[int, int]:
    if 'amdgcn' in kernel.asm:
        found = [
            re.search(rf'\.{what}:\s+(\d+)', kernel.asm['amdgcn'])
            for what in ('vgpr_count', 'vgpr_spill_count')
        ]
        return int(found[0][1]), int(found[1][1])
    architecture = re.search(r'\.target (sm_(\d+)\w*)', kernel.asm['ptx'])
    folder = Path(triton.__file__).parent / 'backends' / 'nvidia' / 'bin'
    assembler = folder / ('ptxas-blackwell' if int(architecture[2]) >= 100 else 'ptxas')
    with tempfile.NamedTemporaryFile('w', suffix='.ptx') as file:
        file.write(kernel.asm['ptx'])
        file.flush()
        command = [assembler, '-v', f'-arch={architecture[1]}', file.name, '-o', '/dev/null']
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    stored = re.search(r'(\d+) bytes spill stores, (\d+) bytes spill loads', said)
    return int(re.search(r'Used (\d+) registers', said)[1]), sum(map(int, stored.groups()))


def real_arguments() -> dict:
    """Of the longest scan of MambaVision-T: its third stage on COCO, fully padded."""
    return arguments(1, 12544, 160, 8, torch.bfloat16)


def main() -> None:
    rows = [row for target in TARGETS for row in resources(target, real_arguments())]
    content = dict(triton=triton.__version__, rows=rows)
    RECORDED.write_text(json.dumps(content, indent=1) + '\n')
    table = Table(*rows[0], title='Registers of a lane: bfloat16, 12,544 tokens, D = 160, N = 8')
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console(width=120).print(table)


if __name__ == '__main__':
    main()
