"""A program as an ONNX model."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import onnx
import torch
from onnx import inliner

from ..programs import Program
from . import scan

# The first with Gelu.
OPSET = 20
TRANSLATIONS = {torch.ops.mmvision_mamba.selective_scan.default: scan.selective_scan}


def to_onnx(program: Program) -> onnx.ModelProto:
    """Record a program and translate it; the model holds operators of ONNX's own domain only.

    Raises:
        InputError: An operator of the program has no translation here.
    """
    with _quiet(), torch.no_grad():
        recorded = record(program)
        translated = torch.onnx.export(
            recorded,
            input_names=program.input_names,
            output_names=program.output_names,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
            custom_translation_table=TRANSLATIONS,
        )
    model = inliner.inline_local_functions(translated.model_proto)
    onnx.checker.check_model(model)
    return model


def record(program: Program) -> torch.export.ExportedProgram:
    """The program as ``torch.export`` records it."""
    return torch.export.export(
        program.module,
        program.example_inputs,
        dynamic_shapes=program.dynamic_shapes,
        strict=False,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's and ONNX's remarks on their own insides."""
    names = ('torch.onnx', 'onnxscript', 'onnx_ir', 'torch.export')
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
