"""Adaptive pooling of maps of any size: exporters record torch's for the example's size alone."""

import torch
from torch import Tensor, nn


class AdaptiveAveragePool(nn.Module):
    """``torch.nn.AdaptiveAvgPool2d`` as two products with matrices of shares.

    Args:
        size: Rows and columns of the result.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C, *size)``."""
        rows, columns = (
            _shares(of, count, x) for of, count in zip(x.shape[2:], self.size, strict=True)
        )
        return rows @ x @ columns.T


def _shares(of: int, count: int, like: Tensor) -> Tensor:
    """``(count, of)``: what each of ``of`` pixels adds to each of ``count`` averages."""
    pixel = torch.arange(of, device=like.device)
    bin_ = torch.arange(count, device=like.device)[:, None]
    start, end = bin_ * of // count, ((bin_ + 1) * of + count - 1) // count
    inside = (pixel >= start) & (pixel < end)
    return inside.to(like.dtype) / (end - start).to(like.dtype)


def replace_adaptive_pools(module: nn.Module) -> None:
    """Put :class:`AdaptiveAveragePool` in the place of torch's, in place."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d):
                size = child.output_size
                size = (size, size) if isinstance(size, int) else tuple(size)
                setattr(parent, name, AdaptiveAveragePool(size))
