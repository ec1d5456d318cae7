"""A linear layer that takes the faster of torch's two float32 matrix products on a CPU.

``torch.nn.functional.linear`` computes float32 with MKL, which leaves AVX-512 unused on processors
of other makers than its own; oneDNN, which torch holds for convolutions and half types, uses it.
"""

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import register_flop_formula

from .exporting import is_exporting

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
    needs_grad = torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (x, weight, bias)
    )
    if not _use_onednn(x, weight):
        y = F.linear(x, weight, bias)
    elif needs_grad or not gelu:
        y = _product(x, weight, bias, False)
    else:
        return _product(x, weight, bias, True)
    return F.gelu(y) if gelu else y


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
        and not is_exporting()
    )


# An operator of our own, because torch.compile takes oneDNN's with constant weights only.
@torch.library.custom_op('mmvision_mamba::linear', mutates_args=())
def _product(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool) -> Tensor:
    activation = ('gelu', [], 'none') if gelu else ('none', [], '')
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, *activation)


@_product.register_fake
def _(x, weight, bias, gelu):
    return x.new_empty(*x.shape[:-1], weight.shape[0])


@register_flop_formula(torch.ops.mmvision_mamba.linear)
def _flops(x_shape, weight_shape, *args, out_shape=None, **kwargs) -> int:
    return 2 * prod(x_shape) * weight_shape[0]


def _keep(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs[:2])


def _differentiate(ctx, dy: Tensor):
    """Of the product alone: where gradients are needed, GELU is an operator of its own."""
    x, weight = ctx.saved_tensors
    needs_x, needs_weight, needs_bias, _ = ctx.needs_input_grad
    # Dense, because oneDNN multiplies a transposed slice of a wider matrix forty times slower.
    x, rows = (t.flatten(0, -2).contiguous() for t in (x, dy))
    dx = _product(rows, weight.T, None, False).view(*dy.shape[:-1], -1) if needs_x else None
    dweight = _product(rows.T, x.T, None, False) if needs_weight else None
    return dx, dweight, rows.sum(0) if needs_bias else None, None


_product.register_autograd(_differentiate, setup_context=_keep)
