import pytest
import torch
import torch.nn.functional as F

from mmvision_mamba.ops import Linear, linear

SHAPES = [(5,), (1, 7), (2, 3, 4)]


def operands(shape, bias=True):
    torch.manual_seed(0)
    x = torch.randn(*shape, 12, requires_grad=True)
    layer = Linear(12, 20, bias=bias)
    return x, layer


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('gelu', [True, False])
def test_equals_torch_in_value_and_gradients(shape, bias, gelu):
    x, layer = operands(shape, bias)
    leaves = [x, *layer.parameters()]
    y = linear(x, layer.weight, layer.bias, gelu=gelu)
    expected = F.linear(x, layer.weight, layer.bias)
    expected = F.gelu(expected) if gelu else expected
    torch.testing.assert_close(y, expected)
    dy = torch.randn_like(y)
    for given, wanted in zip(
        torch.autograd.grad(y, leaves, dy), torch.autograd.grad(expected, leaves, dy)
    ):
        torch.testing.assert_close(given, wanted)
    with torch.no_grad():
        inference = linear(x, layer.weight, layer.bias, gelu=gelu)
    torch.testing.assert_close(inference, expected)


def test_rows_and_weights_of_any_strides():
    x = torch.randn(6, 12).T[:, ::2]
    weight = torch.randn(3, 20).T
    torch.testing.assert_close(linear(x, weight), F.linear(x, weight))


def test_an_empty_batch_gives_an_empty_output():
    assert Linear(12, 20)(torch.empty(0, 12)).shape == (0, 20)


def test_autocast_and_half_types_keep_their_dtype():
    x, layer = operands((5,))
    with torch.autocast('cpu', torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert layer.double()(x.double()).dtype == torch.float64


def test_a_compiled_layer_and_its_backward_equal_the_eager_ones():
    x, layer = operands((2, 5))
    expected = layer(x)
    y = torch.compile(layer, fullgraph=True, backend='aot_eager')(x)
    torch.testing.assert_close(y, expected)
    for given, wanted in zip(
        torch.autograd.grad(y.sum(), layer.parameters()),
        torch.autograd.grad(expected.sum(), layer.parameters()),
    ):
        torch.testing.assert_close(given, wanted)


def test_an_exported_program_holds_the_operator_that_every_runtime_knows():
    x, layer = operands((2, 5))
    program = torch.export.export(layer, (x.detach(),))
    targets = [node.target for node in program.graph.nodes if node.op == 'call_function']
    assert targets == [torch.ops.aten.linear.default]
