import re
import sys
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')

from mmvision_mamba.errors import InputError  # noqa: E402
from mmvision_mamba.export.quantize import halve_weights, quantizable, quantize  # noqa: E402

NET = """
<ir_version: 9, opset_import: ["" : 20]>
net (float[n, 8, 6, 6] image) => (float[n, 40] features) {
    map = Conv <pads = [1, 1, 1, 1]> (image, kernel)
    positive = Relu (map)
    mean = ReduceMean <keepdims = 0> (positive, axes)
    product = MatMul (mean, weight)
    features = Add (product, bias)
}
"""
# Twice a linear, then a scan that sums up, then a linear.
SCAN = """
<ir_version: 9, opset_import: ["" : 20]>
net (float[5, 8] x) => (float[5, 8] y) {
    first = MatMul (x, weight)
    second = MatMul (first, weight_before)
    positive = Relu (second)
    last, sums = Scan <num_scan_inputs = 1, body = step (float[8] h, float[8] u)
        => (float[8] next, float[8] out) { next = Add (h, u)  out = Identity (next) }>
        (start, positive)
    y = MatMul (sums, weight_behind)
}
"""


def model_of(text: str, **weights):
    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, name) for name, value in weights.items()
    )
    for place, node in enumerate(model.graph.node):
        node.name = f'node{place}'
    onnx.checker.check_model(model)
    return model


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def net(rng):
    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    # Channels of very different weights.
    kernel = normal(32, 8, 3, 3) * np.float32(10) ** np.linspace(-2, 1, 32)[:, None, None, None]
    return model_of(
        NET,
        kernel=kernel.astype(np.float32),
        axes=np.array([2, 3]),
        weight=normal(32, 40),
        bias=normal(40),
    )


@pytest.fixture
def images(rng):
    return [dict(image=rng.normal(size=(1, 8, 6, 6)).astype(np.float32)) for _ in range(6)]


def run(model, feed):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, feed)[0]


def off(model, other, feed):
    one, two = run(model, feed), run(other, feed)
    return np.linalg.norm(one - two) / np.linalg.norm(one)


def test_fp16_halves_the_file_and_computes_nearly_the_same(net, images):
    halved = halve_weights(net)
    assert len(halved.SerializeToString()) < 0.55 * len(net.SerializeToString())
    assert 0 < off(net, halved, images[0]) < 1e-3
    kinds = {weight.name: weight.data_type for weight in halved.graph.initializer}
    assert kinds['weight_fp16'] == onnx.TensorProto.FLOAT16
    assert kinds['bias'] == onnx.TensorProto.FLOAT
    assert all(weight.data_type != onnx.TensorProto.FLOAT16 for weight in net.graph.initializer)


def test_a_weight_that_fp16_cannot_hold_is_named(net):
    [weight] = [weight for weight in net.graph.initializer if weight.name == 'weight']
    values = onnx.numpy_helper.to_array(weight).copy()
    values[3, 4] = -7e4
    weight.CopyFrom(onnx.numpy_helper.from_array(values, 'weight'))
    with pytest.raises(InputError, match='weight has a value of 7e\\+04'):
        halve_weights(net)


def test_int8_keeps_a_scale_for_each_channel_and_is_near(net, images):
    quantized = quantize(net, images[1:])
    kinds = [node.op_type for node in quantized.graph.node]
    assert kinds.count('QuantizeLinear') == 3  # the image, the map, and what the linear is given
    weights = {weight.name: weight for weight in quantized.graph.initializer}
    assert weights['kernel_quantized'].data_type == onnx.TensorProto.INT8
    assert list(weights['kernel_scale'].dims) == [32]
    assert list(weights['weight_scale'].dims) == [40]
    assert 0 < off(net, quantized, images[0]) < 0.05


@pytest.mark.skipif(not Path('/proc/self/clear_refs').exists(), reason='Linux tells peaks')
def test_calibration_holds_a_few_maps_at_a_time_and_not_all(rng):
    image = rng.normal(size=(1, 16, 256, 256)).astype(np.float32)  # 4 MiB, and so is each map
    layers = '\n'.join(f'x{i + 1} = Conv (x{i}, kernel)' for i in range(40))
    chain = f"""
    <ir_version: 9, opset_import: ["" : 20]>
    net (float[1, 16, 256, 256] x0) => (float[1, 16, 256, 256] x40) {{ {layers} }}
    """
    model = model_of(chain, kernel=np.eye(16, dtype=np.float32)[:, :, None, None])
    before = megabytes('VmRSS')
    Path('/proc/self/clear_refs').write_text('5')  # the peak is from here on
    quantize(model, [dict(x0=image)])
    assert megabytes('VmHWM') - before < 15 * image.nbytes / 2**20


def megabytes(kind: str) -> float:
    status = Path('/proc/self/status').read_text()
    return int(re.search(rf'{kind}:\s*(\d+)', status)[1]) / 1024


def test_int8_without_an_image_is_refused(net):
    with pytest.raises(InputError, match='no image to calibrate on'):
        quantize(net, [])


def test_a_missing_quantizer_is_said(net, images, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxruntime.quantization', None)
    monkeypatch.delattr(onnxruntime, 'quantization', raising=False)
    with pytest.raises(InputError, match="needs onnxruntime's quantiser"):
        quantize(net, images)


def test_what_feeds_a_scan_stays_in_float32(rng):
    names = ('weight', 'weight_before', 'weight_behind')
    weights = {name: rng.normal(size=(8, 8)).astype(np.float32) for name in names}
    model = model_of(SCAN, **weights, start=np.zeros(8, np.float32))
    assert [node.output[0] for node in quantizable(model.graph)] == ['first', 'y']
    quantized = quantize(model, [dict(x=rng.normal(size=(5, 8)).astype(np.float32))])
    made_by = {name: node for node in quantized.graph.node for name in node.output}
    [scan] = [node for node in quantized.graph.node if node.op_type == 'Scan']
    relu = made_by[scan.input[1]]
    product = made_by[relu.input[0]]
    assert (relu.op_type, product.op_type) == ('Relu', 'MatMul')
    assert list(product.input) == ['first', 'weight_before']
