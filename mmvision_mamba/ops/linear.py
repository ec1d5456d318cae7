"""A linear layer that takes the faster of torch's two float32 matrix products on a CPU.

``torch.nn.functional.linear`` computes float32 with MKL, which leaves AVX-512 unused on processors
of other makers than its own; oneDNN, which torch holds for convolutions and half types, uses it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_HAS_ONEDNN = (
    torch.backends.mkldnn.is_available()
    and torch.backends.cpu.get_cpu_capability() == 'AVX512'
    and hasattr(torch.ops.mkldnn, '_linear_pointwise')
)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, gelu: bool = False) -> Tensor:
    """``x`` ``(..., in)`` times ``weight`` ``(out, in)`` transposed, plus ``bias`` ``(out,)``.

    Args:
        gelu: Whether the result goes through the exact GELU, which costs nothing in inference
            where the product is oneDNN's.

    Returns:
        ``(..., out)``; equal to torch's to rounding.
    """
    if not _use_onednn(x, weight):
        y = F.linear(x, weight, bias)
        return F.gelu(y) if gelu else y
    if torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (x, weight, bias)
    ):
        y = _OneDNNLinear.apply(x, weight, bias)
        return F.gelu(y) if gelu else y
    return _product(x, weight, bias, gelu)


class Linear(nn.Linear):
    """``torch.nn.Linear`` by :func:`linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def _use_onednn(x: Tensor, weight: Tensor) -> bool:
    return (
        _HAS_ONEDNN
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == weight.device.type == 'cpu'
        and x.numel() > 0
        and not torch.is_autocast_enabled('cpu')
        # Whoever traces a program wants torch's operator, which every compiler knows.
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
    )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None, gelu: bool = False) -> Tensor:
    activation = ('gelu', [], 'none') if gelu else ('none', [], '')
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, *activation)


class _OneDNNLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor):
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        dy = dy.flatten(0, -2)
        dx = _product(dy, weight.T).view(x.shape) if needs_x else None
        dweight = _product(dy.T, x.flatten(0, -2).T) if needs_weight else None
        return dx, dweight, dy.sum(0) if needs_bias else None
