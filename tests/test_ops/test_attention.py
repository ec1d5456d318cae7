import pytest
import torch
from torch._dynamo.backends.common import aot_autograd

from mmvision_mamba.ops import attention
from mmvision_mamba.ops.scan import cpu

needs_kernel = pytest.mark.skipif(
    cpu.unavailable() is not None, reason=f'no C++ kernels here: {cpu.unavailable()}'
)


@pytest.fixture
def any_length(monkeypatch) -> None:
    """Let the kernel take sequences that are left to torch for speed."""
    monkeypatch.setitem(attention.__globals__, '_MIN_LENGTH', 0)


def expected(qkv):
    q, k, v = qkv.double().permute(2, 0, 3, 1, 4)
    weights = torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, dim=-1)
    return (weights @ v).transpose(1, 2).flatten(2)


@needs_kernel
@pytest.mark.parametrize('length', [1, 31, 48, 49, 193, 500])
@pytest.mark.parametrize('dim', [1, 16, 20, 40, 49, 64, 100])
def test_any_length_and_head_size(instruction_set, any_length, length, dim):
    torch.manual_seed(0)
    qkv = torch.randn(2, length, 3, 3, dim)
    assert (attention(qkv) - expected(qkv)).abs().max() < 1e-5


def relative_error(given, expected):
    return float((given.double() - expected).norm() / expected.norm())


@needs_kernel
@pytest.mark.parametrize('length', [1000, 4096])
def test_a_window_that_is_mostly_padding_loses_no_digits(instruction_set, length):
    torch.manual_seed(0)
    qkv = torch.randn(1, length, 3, 2, 20)
    qkv[:, length // 10 :] = torch.randn(3, 2, 20)  # every token of padding is the same
    assert relative_error(attention(qkv), expected(qkv)) < 4e-6


@needs_kernel
def test_keys_that_rise_from_span_to_span_fade_all_that_came_before(instruction_set):
    torch.manual_seed(0)
    qkv = torch.randn(1, 3000, 3, 2, 16)
    qkv[:, :, 1] *= torch.linspace(0.1, 10, 3000)[:, None, None]
    assert relative_error(attention(qkv), expected(qkv)) < 1e-5


@needs_kernel
def test_large_scores_neither_overflow_nor_vanish(instruction_set, any_length):
    torch.manual_seed(0)
    qkv = torch.randn(1, 300, 3, 2, 16)
    qkv[:, :, :2] *= 40
    y = attention(qkv)
    assert y.isfinite().all()
    torch.testing.assert_close(y.double(), expected(qkv), rtol=1e-3, atol=1e-3)


@needs_kernel
def test_a_nan_reaches_the_results_of_its_own_query_and_no_others(instruction_set, any_length):
    torch.manual_seed(0)
    qkv = torch.randn(1, 70, 3, 2, 16)
    qkv[0, 30, 0, 1, 5] = float('nan')
    y = attention(qkv).unflatten(-1, (2, 16))
    assert y[0, 30, 1].isnan().all()
    assert y.isnan().sum() == 16


@needs_kernel
@pytest.mark.parametrize('threads', [1, 2, 7, 64])
def test_any_number_of_threads(monkeypatch, threads):
    qkv = torch.randn(1, 200, 3, 3, 20)
    monkeypatch.setattr(torch, 'get_num_threads', lambda: threads)
    torch.testing.assert_close(attention(qkv).double(), expected(qkv), rtol=1e-4, atol=1e-5)


@needs_kernel
def test_the_operator_is_one_that_torch_can_transform():
    torch.library.opcheck(torch.ops.mmvision_mamba.attention, (torch.randn(1, 130, 3, 2, 8),))


def operators_of(module, *args) -> str:
    """The graph that torch.compile makes of a module, as text."""
    graphs = []

    def record(graph, example):
        graphs.append(str(graph.graph))
        return graph

    torch._dynamo.reset()
    torch.compile(module, fullgraph=True, backend=aot_autograd(fw_compiler=record))(*args)
    return '\n'.join(graphs)


@needs_kernel
def test_it_compiles_and_exports_whole():
    qkv = torch.randn(1, 150, 3, 2, 8)

    class Attention(torch.nn.Module):
        def forward(self, qkv):
            return attention(qkv)

    with torch.no_grad():
        expected = attention(qkv)
        compiled = torch.compile(Attention(), fullgraph=True, backend='aot_eager')
        torch.testing.assert_close(compiled(qkv), expected)
        assert 'mmvision_mamba.attention' in operators_of(Attention(), qkv)
        program = torch.export.export(Attention(), (qkv,))
    torch.testing.assert_close(program.module()(qkv), expected)
    names = {str(node.target) for node in program.graph.nodes}
    assert 'aten.scaled_dot_product_attention.default' in names


def test_gradients_are_those_of_torch():
    qkv = torch.randn(2, 150, 3, 2, 8, requires_grad=True)
    y = attention(qkv)
    torch.testing.assert_close(y.double(), expected(qkv), rtol=1e-4, atol=1e-5)
    (grad,) = torch.autograd.grad(y.sin().sum(), qkv)
    (wanted,) = torch.autograd.grad(expected(qkv).sin().sum(), qkv)
    torch.testing.assert_close(grad, wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_types_keep_their_dtype(dtype):
    qkv = torch.randn(1, 150, 3, 2, 8).to(dtype)
    y = attention(qkv)
    assert y.dtype == dtype
    torch.testing.assert_close(y.double(), expected(qkv), rtol=2e-2, atol=1e-2)
