"""A program as an ONNX model."""

import onnx
import torch
from onnx import inliner

from ..programs import Program, quiet, record
from . import scan

# The first with Gelu.
OPSET = 20
TRANSLATIONS = {torch.ops.mmvision_mamba.selective_scan.default: scan.selective_scan}


def to_onnx(program: Program) -> onnx.ModelProto:
    """Record a program and translate it; the model holds operators of ONNX's own domain only.

    Raises:
        InputError: An operator of the program has no translation here.
    """
    with quiet(), torch.no_grad():
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
