"""Softmax attention inside windows: torch's, or the project's C++ kernel where that is faster."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from . import cpp_library
from .exporting import is_exporting

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_HAS_KERNEL = not isinstance(cpp_library.load(), str)
# Shorter sequences leave too much of the kernel's panels of keys empty.
_MIN_LENGTH = 128


def attention(qkv: Tensor) -> Tensor:
    """Scaled dot-product attention of all tokens of a sequence to each other.

    Args:
        qkv: Queries, keys and values, ``(batch, length, 3, heads, head_dim)``.

    Returns:
        ``(batch, length, heads * head_dim)`` in the dtype of ``qkv``. The C++ kernel computes half
        types in float32, which is faster than torch in their own.
    """
    if _use_kernel(qkv):
        return _attend(qkv.float()).flatten(2).to(qkv.dtype)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (batch, heads, length, head_dim)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def _use_kernel(qkv: Tensor) -> bool:
    return (
        _HAS_KERNEL
        and qkv.device.type == 'cpu'
        and qkv.dtype in _DTYPES
        and qkv.shape[1] >= _MIN_LENGTH
        and not (torch.is_grad_enabled() and qkv.requires_grad)
        and not is_exporting()
    )


@torch.library.custom_op('mmvision_mamba::attention', mutates_args=())
def _attend(qkv: Tensor) -> Tensor:
    batch, length, _, heads, dim = qkv.shape
    if qkv.stride(-1) != 1:
        qkv = qkv.contiguous()
    out = qkv.new_empty(batch, length, heads, dim)
    q, k, v = qkv.unbind(2)
    arguments = cpp_library.AttentionArguments(
        batch=batch,
        length=length,
        heads=heads,
        dim=dim,
        threads=torch.get_num_threads(),
        batch_step=q.stride(0),
        row=q.stride(1),
        head_step=q.stride(2),
        q=q.data_ptr(),
        k=k.data_ptr(),
        v=v.data_ptr(),
        out=out.data_ptr(),
    )
    cpp_library.run('attention', arguments)
    return out


@_attend.register_fake
def _(qkv):
    batch, length, _, heads, dim = qkv.shape
    return qkv.new_empty(batch, length, heads, dim)


@register_flop_formula(torch.ops.mmvision_mamba.attention)
def _flops(qkv_shape, *args, out_shape=None, **kwargs) -> int:
    batch, length, _, heads, dim = qkv_shape
    return 4 * batch * heads * length * length * dim
