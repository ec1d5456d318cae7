"""A program as ``torch.export`` records it."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .program import Program


def record(program: Program) -> torch.export.ExportedProgram:
    """The program as ``torch.export`` records it."""
    return torch.export.export(
        program.module,
        program.example_inputs,
        dynamic_shapes=program.dynamic_shapes,
        strict=False,
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Without torch's and ONNX's remarks on their own insides."""
    names = ('torch.onnx', 'onnxscript', 'onnx_ir', 'torch.export', 'torch.utils.cpp_extension')
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
