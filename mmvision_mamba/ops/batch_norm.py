"""Batch norm whose training on a CPU is exact on channels-last maps.

torch's own kernel for that layout adds up a channel's pixels in one float32 sum: on the first map
of a COCO batch (2 x 32 x 400 x 672) its outputs are off by 1e-4, its gradients by far more.
"""

import torch
from torch import Tensor, nn

from . import cpp_library
from .exporting import is_exporting

_STORAGE = {torch.float32: 0, torch.bfloat16: 2, torch.float16: 3}
_HAS_KERNEL = not isinstance(cpp_library.load(), str)


class BatchNorm2d(nn.BatchNorm2d):
    """``torch.nn.BatchNorm2d``, channels-last maps on a CPU by the project's C++ kernel."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same, in the dtype of ``x``."""
        if not self._use_kernel(x):
            return super().forward(x)
        mean, var = None, None
        if not self.training:
            mean, var = self.running_mean, self.running_var
        y, mean, var = _normalise(x, self.weight, self.bias, mean, var, self.eps)
        if self.training:
            with torch.no_grad():
                count = x.numel() // x.shape[1]
                self.num_batches_tracked.add_(1)
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(var * (count / (count - 1)), self.momentum)
        return y

    def _use_kernel(self, x: Tensor) -> bool:
        own = (self.weight, self.bias, self.running_mean, self.running_var)
        return (
            _HAS_KERNEL
            and x.device.type == 'cpu'
            and x.dtype in _STORAGE
            and all(t is not None and t.dtype == torch.float32 for t in own)
            and self.momentum is not None
            and x.dim() == 4
            and x.is_contiguous(memory_format=torch.channels_last)
            and x.numel() > x.shape[1]
            and not is_exporting()
        )


@torch.library.custom_op('mmvision_mamba::batch_norm', mutates_args=())
def _normalise(
    x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor | None, var: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The norm with given statistics, or the batch's where there are none; and the statistics."""
    training = mean is None
    mean, var = (torch.empty_like(weight) if t is None else t.clone() for t in (mean, var))
    y = torch.empty_like(x)
    _run('forward', x, weight, mean, var, eps, training, bias=bias.contiguous(), y=y)
    return y, mean, var


@torch.library.custom_op('mmvision_mamba::batch_norm_backward', mutates_args=())
def _backward(
    dy: Tensor, x: Tensor, weight: Tensor, mean: Tensor, var: Tensor, eps: float, training: bool
) -> tuple[Tensor, Tensor, Tensor]:
    dy = dy.contiguous(memory_format=torch.channels_last)
    dx, dweight, dbias = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)
    results = dict(dx=dx, dweight=dweight, dbias=dbias)
    _run('backward', x, weight, mean, var, eps, training, dy=dy, **results)
    return dx, dweight, dbias


def _run(direction: str, x, weight, mean, var, eps: float, training: bool, **more: Tensor) -> None:
    tensors = dict(x=x, weight=weight.contiguous(), mean=mean, var=var, **more)
    arguments = cpp_library.BatchNormArguments(
        rows=x.numel() // x.shape[1],
        channels=x.shape[1],
        threads=torch.get_num_threads(),
        storage=_STORAGE[x.dtype],
        training=training,
        eps=eps,
        **{name: tensor.data_ptr() for name, tensor in tensors.items()},
    )
    cpp_library.run(f'batch_norm_{direction}', arguments)


@_normalise.register_fake
def _(x, weight, bias, mean, var, eps):
    return torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)


@_backward.register_fake
def _(dy, x, weight, mean, var, eps, training):
    return torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)


def _keep(ctx, inputs, output) -> None:
    x, weight, _, mean, _, ctx.eps = inputs
    ctx.training = mean is None
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(x, weight, *output[1:])


def _differentiate(ctx, dy, *_):
    x, weight, mean, var = ctx.saved_tensors
    gradients = torch.ops.mmvision_mamba.batch_norm_backward(
        dy, x, weight, mean, var, ctx.eps, ctx.training
    )
    return *gradients, None, None, None


_normalise.register_autograd(_differentiate, setup_context=_keep)
