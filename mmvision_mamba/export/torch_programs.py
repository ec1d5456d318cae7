"""An open model as a program of PyTorch: exported, or compiled to native code by AOTInductor."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..checkpoints import trust_checkpoints
from ..errors import InputError
from ..inference.exported_programs import TorchProgram
from .exporter import prove_run
from .programs import Program, quiet, record
from .self_check import with_maps


@dataclass(frozen=True)
class TorchExport:
    """A program of PyTorch in a file, and what was seen of it.

    Attributes:
        content: The file.
        maps: Names of its outputs: those of its program, and those that its check looks at.
        operators: How many of each the recorded program has.
        seconds: That it took.
    """

    content: Path
    maps: tuple[str, ...]
    operators: Counter
    seconds: float
    file = 'model.pt2'

    def __str__(self) -> str:
        return (
            f'torch {torch.__version__}, {self.content.stat().st_size / 1e6:.1f} MB, '
            f'{self.operators.total()} operators, {self.seconds:.0f} s'
        )


class Named(nn.Module):
    """A program whose outputs are a dict, so that its file tells their names.

    Args:
        module: Of tensors in and a tuple of tensors out.
        names: Of these.
    """

    def __init__(self, module: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.module, self.names = module, names

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        """By name, the outputs of the program."""
        return dict(zip(self.names, self.module(*inputs), strict=True))


def export_torch(program: Program, path: Path, compiled: bool = False) -> TorchExport:
    """Record a program, and save or compile it.

    Args:
        program: It.
        path: Of the file to be written, ``.pt2``.
        compiled: Whether AOTInductor compiles it, for this processor.

    Raises:
        InputError: It cannot be compiled.
    """
    start = time.perf_counter()
    with with_maps(program) as wide, quiet(), torch.no_grad():
        # What a module takes as *inputs is a tuple of its own; of the image alone sides may vary.
        shapes = ((wide.dynamic_shapes[0], *({} for _ in wide.input_names[1:])),)
        named = replace(
            wide, module=Named(wide.module, wide.output_names).eval(), dynamic_shapes=shapes
        )
        recorded = record(named)
        if compiled:
            _compile(recorded, path)
        else:
            torch.export.save(recorded, path)
    operators = Counter(
        str(node.target) for node in recorded.graph.nodes if node.op == 'call_function'
    )
    return TorchExport(path, wide.output_names, operators, time.perf_counter() - start)


def _compile(recorded: torch.export.ExportedProgram, path: Path) -> None:
    try:
        torch._inductor.aoti_compile_and_package(recorded, package_path=str(path))
    except Exception as error:  # of classes of the compiler's own
        reason = ' '.join(str(error).split())[:300]
        raise InputError(f'the model cannot be compiled by AOTInductor: {reason}') from error


def prove_torch(
    program: Program, export: TorchExport, images: Iterable[np.ndarray]
) -> Iterator[tuple[tuple[int, int], dict[str, float]]]:
    """Run the file beside the program that it is of, see :func:`~.exporter.prove_run`."""
    with trust_checkpoints():  # it was made here
        network = TorchProgram(export.content)
    yield from prove_run(
        program, lambda feeds: network.run(program.output_names, feeds), images, 'PyTorch'
    )
