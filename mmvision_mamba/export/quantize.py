"""A network in fewer bits: weights kept in 16, or convolutions and linears computed in 8."""

import logging
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..errors import InputError

# Weights of fewer values take no room worth their precision.
_SMALL = 1024
_WEIGHTED = ('Conv', 'ConvTranspose', 'MatMul', 'Gemm')


def halve_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model whose weights are kept in fp16, and made float32 when it is loaded.

    It is computed in float32, as on any processor: fp16 halves the file alone.

    Raises:
        InputError: A weight is too large for fp16.
    """
    model = _copied(model)
    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < _SMALL:
            continue
        values = numpy_helper.to_array(weight)
        if np.abs(values).max() > np.finfo(np.float16).max:
            raise InputError(
                f'fp16: {weight.name} has a value of {np.abs(values).max():.3g}, and the largest '
                'of fp16 is 65504: use float32'
            )
        kept = f'{weight.name}_fp16'
        casts.append(helper.make_node('Cast', [kept], [weight.name], kept, to=TensorProto.FLOAT))
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), kept))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return model


def quantize(model: onnx.ModelProto, feeds: Iterable[dict[str, np.ndarray]]) -> onnx.ModelProto:
    """A model whose convolutions and linears compute in int8, and all of the scan in float32.

    By onnxruntime's static quantisation: ``QuantizeLinear`` and ``DequantizeLinear`` around them,
    weights in int8 with a scale for each channel, activations in uint8 between the least and the
    greatest value that calibration meets.

    Args:
        model: In float32.
        feeds: Inputs by name, of images like those that the model is for.

    Raises:
        InputError: onnxruntime's quantiser cannot be imported, or there is no image.
    """
    quantization = quantizer()
    from .ranges import find_ranges  # of onnxruntime's quantiser too

    waiting = iter(feeds)
    first = next(waiting, None)
    if first is None:
        raise InputError('int8: there is no image to calibrate on')

    nodes = quantizable(model.graph)
    names = [node.name for node in nodes]
    kinds = sorted({node.op_type for node in nodes})
    with tempfile.TemporaryDirectory() as temporary, _quiet():
        source, path = Path(temporary, 'model.onnx'), Path(temporary, 'quantized.onnx')
        onnx.save(model, source)
        whole = quantization.QDQQuantizer(
            _copied(model),
            per_channel=True,
            reduce_range=False,
            weight_qType=quantization.QuantType.QInt8,
            activation_qType=quantization.QuantType.QUInt8,
            tensors_range=find_ranges(source, names, _and_then(first, waiting)),
            nodes_to_quantize=names,
            nodes_to_exclude=[],
            op_types_to_quantize=kinds,
            extra_options=dict(
                # The product of a linear stays in float32, to which its bias is added.
                OpTypesToExcludeOutputQuantization=['MatMul', 'Gemm'],
                QDQOpTypePerChannelSupportToAxis={'MatMul': 1},
            ),
        )
        whole.quantize_model()
        whole.model.save_model_to_file(path)
        quantized = onnx.load(path)
    onnx.checker.check_model(quantized)
    return quantized


def quantizer():
    """onnxruntime's module that quantises.

    Raises:
        InputError: It cannot be imported.
    """
    try:
        from onnxruntime import quantization
    except ImportError as error:
        raise InputError(
            f"int8 needs onnxruntime's quantiser, which cannot be imported ({error}): "
            'pip install onnx onnxruntime'
        ) from error
    return quantization


def quantizable(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Convolutions and linears with constant weights, but for those that feed a scan at once."""
    constants = {weight.name for weight in graph.initializer}
    weighted = [
        node for node in graph.node if node.op_type in _WEIGHTED and node.input[1] in constants
    ]
    places = {id(node) for node in weighted}
    made_by = {name: node for node in graph.node for name in node.output}
    before_scan: set[int] = set()
    waiting = [name for node in graph.node if node.op_type == 'Scan' for name in node.input]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        node = made_by.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if id(node) in places:
            before_scan.add(id(node))
        else:
            waiting += node.input
    return [node for node in weighted if id(node) not in before_scan]


def _copied(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _and_then(first: dict, others: Iterator[dict]) -> Iterator[dict]:
    yield first
    yield from others


class _quiet:
    """Without the quantiser's advice to preprocess a model, which the exporter has done."""

    def __enter__(self) -> None:
        self.level = logging.getLogger().level
        logging.getLogger().setLevel(logging.ERROR)

    def __exit__(self, *error: object) -> None:
        logging.getLogger().setLevel(self.level)
