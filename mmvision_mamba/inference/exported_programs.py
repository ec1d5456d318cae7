"""Programs of PyTorch (``.pt2``) behind an exported model: exported ones, and compiled ones."""

import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torchvision  # noqa: F401  # registers the operators that detectors are made of
from torch.utils import _pytree as pytree

from .. import ops  # noqa: F401  # registers the scan
from ..checkpoints import trusting
from ..errors import InputError
from ..standalone.network import Network, open_onnx


def open_network(path: Path, also: Sequence[str], threads: int) -> Network:
    """A network of an exported model's file, of whatever format.

    Raises:
        InputError: It is damaged; or a program of PyTorch, which is not trusted.
    """
    return TorchProgram(path) if path.suffix == '.pt2' else open_onnx(path, also, threads)


class TorchProgram:
    """A file of ``torch.export.save`` or of AOTInductor, on the CPU, in torch's own threads.

    Its author's code runs: the one is native code, and reading the other evaluates expressions and
    unpickles. So it is opened under :func:`~mmvision_mamba.checkpoints.trust_checkpoints` alone.

    Args:
        path: Of the file. Its program takes tensors and gives a dict of tensors.

    Attributes:
        inputs, outputs: Names of the tensors that it takes and gives.
    """

    def __init__(self, path: Path) -> None:
        if not trusting():
            raise InputError(
                f'{path} is a program of PyTorch, and to open it runs what its author put in. If '
                'you know who made it, pass --trust-checkpoint, or in Python use '
                'mmvision_mamba.checkpoints.trust_checkpoints()'
            )
        try:
            self._run, inputs, outputs = _open_compiled(path) if is_compiled(path) else _open(path)
        except Exception as error:  # it fails in any way, as it is run
            reason = ' '.join(str(error).split())[:200]
            raise InputError(f'{path} cannot be loaded by PyTorch: {reason}') from error
        # The size of the label map is the second input of what takes two.
        self._names = ('image', 'size')[: inputs.num_leaves]
        self.inputs = frozenset(self._names)
        self.outputs = frozenset(outputs.context or ())

    def run(self, names: Sequence[str], feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs of these names; raises whatever PyTorch does."""
        # A compiled program reads memory as its example's lay, and checks no strides.
        given = (torch.from_numpy(np.ascontiguousarray(feeds[name])) for name in self._names)
        with torch.inference_mode():
            found = self._run(*given)
        return {name: found[name].numpy() for name in names}


def is_compiled(path: Path) -> bool:
    """Whether a ``.pt2`` is a package of AOTInductor; only its list of files is read."""
    with zipfile.ZipFile(path) as archive:
        return any('/data/aotinductor/' in name for name in archive.namelist())


def _open(path: Path) -> tuple[Callable, pytree.TreeSpec, pytree.TreeSpec]:
    """A program that was exported: what runs it, and the shape of its inputs and outputs."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of weights that are mapped, and not written to
        program = torch.export.load(path)
    return program.module(), program.call_spec.in_spec, program.call_spec.out_spec


def _open_compiled(path: Path) -> tuple[Callable, pytree.TreeSpec, pytree.TreeSpec]:
    """A program that was compiled: what runs it, and the shape of its inputs and outputs."""
    program = torch._inductor.aoti_load_package(path)
    inputs, outputs = (pytree.treespec_loads(spec) for spec in program.loader.get_call_spec())
    return program, inputs, outputs
