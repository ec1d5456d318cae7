"""The selective scan in ONNX's own operators, run by onnxruntime."""

import numpy as np
import pytest
import torch

from mmvision_mamba.ops import selective_scan

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')

from onnx import inliner  # noqa: E402
from onnxscript import FLOAT  # noqa: E402

from mmvision_mamba.export.onnx.scan import softplus, two_level_scan  # noqa: E402

DIM, STATE = 12, 4


@pytest.fixture(scope='module')
def session():
    sequence, matrix = FLOAT['batch', 'length', DIM], FLOAT['batch', 'length', STATE]
    types = [sequence, sequence, FLOAT[DIM, STATE], matrix, matrix]
    model = model_of(two_level_scan, input_types=types, output_types=[sequence])
    return onnxruntime.InferenceSession(model.SerializeToString())


def model_of(function, **types):
    """A model of one function, inlined as an export's is."""
    model = inliner.inline_local_functions(function.to_model_proto(**types))
    assert not any(node.domain for node in model.graph.node)
    return model


def inputs(batch: int, length: int, rate: float):
    generator = torch.Generator().manual_seed(0)
    u, delta = (torch.randn(batch, length, DIM, generator=generator) for _ in range(2))
    B, C = (torch.randn(batch, length, STATE, generator=generator) for _ in range(2))
    A = -rate * torch.arange(1.0, STATE + 1).repeat(DIM, 1)
    return u, delta.exp(), A, B, C


@pytest.mark.parametrize('rate', [0.0, 1e-3, 1.0, 50.0, 1e4], ids='decay {}'.format)
@pytest.mark.parametrize(('batch', 'length'), [(1, 1), (2, 2), (1, 49), (3, 50), (2, 200)])
def test_it_scans_any_length_under_any_decay(session, batch, length, rate):
    given = inputs(batch, length, rate)
    names = [value.name for value in session.get_inputs()]
    (y,) = session.run(None, dict(zip(names, (x.numpy() for x in given))))
    expected = selective_scan(*(x.double() for x in given), channels_last=True).numpy()
    assert np.isfinite(y).all()
    assert np.linalg.norm(y - expected) <= 2e-6 * np.linalg.norm(expected)


def test_small_steps_are_not_lost_in_softplus():
    session = onnxruntime.InferenceSession(
        model_of(softplus, input_types=[FLOAT['n']], output_types=[FLOAT['n']]).SerializeToString()
    )
    x = np.linspace(-30, 30, 1001, dtype=np.float32)
    (y,) = session.run(None, {session.get_inputs()[0].name: x})
    np.testing.assert_allclose(y, np.log1p(np.exp(x.astype(np.float64))), rtol=1e-6)
