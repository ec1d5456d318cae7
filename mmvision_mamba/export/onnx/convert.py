"""A program as an ONNX model."""

import numpy as np
import onnx
import onnx_ir
import torch
from onnx import inliner
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from onnxscript import optimizer

from ..programs import Program, quiet, record
from . import scan

# The first with Gelu; 23's Attention takes 3 % off MambaVision-T, and fewer runtimes know it.
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
    model = _without_detours(inliner.inline_local_functions(translated.model_proto))
    onnx.checker.check_model(model)
    return model


def _without_detours(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model whose weights are as its operators take them, and no notes on where they are from."""
    whole = onnx_ir.from_proto(model)
    _split_weights(whole.graph)
    # Of any size, as what torch's exporter leaves to be split or turned are the large ones.
    optimizer.optimize(whole, onnx_shape_inference=False, input_size_limit=2**31)
    ClearMetadataAndDocStringPass()(whole)
    return onnx_ir.to_proto(whole)


def _split_weights(graph: onnx_ir.Graph) -> None:
    """Make weights of a weight's parts, which ONNX's optimizer passes over."""
    for node in list(graph):
        if node.op_type != 'Split' or len(node.inputs) != 2:
            continue
        weight, sizes = map(onnx_ir.convenience.get_const_tensor, node.inputs)
        if weight is None or sizes is None:
            continue
        ends = np.cumsum(sizes.numpy())[:-1]
        parts = np.split(weight.numpy(), ends, node.attributes.get_int('axis', 0))
        for output, part in zip(node.outputs, parts):
            name, output.name = output.name, None
            constant = onnx_ir.Value(name=name, const_value=onnx_ir.tensor(part, name=name))
            graph.register_initializer(constant)
            output.replace_all_uses_with(constant)
        graph.remove(node, safe=True)
