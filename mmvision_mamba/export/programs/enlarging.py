"""Maps made larger by a whole factor: mmseg's own way is recorded for the example's size alone."""

import torch.nn.functional as F
from mmseg.models.utils import Upsample
from torch import Tensor, nn


class Enlarge(nn.Module):
    """mmseg's ``Upsample``, whose sizes, being products of floats, no exporter can follow.

    Args:
        upsample: With a whole scale factor.
    """

    def __init__(self, upsample: Upsample) -> None:
        super().__init__()
        self.factor = int(upsample.scale_factor)
        self.mode, self.align_corners = upsample.mode, upsample.align_corners

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C, factor * H, factor * W)``."""
        size = tuple(side * self.factor for side in x.shape[2:])
        return F.interpolate(x, size=size, mode=self.mode, align_corners=self.align_corners)


def replace_upsamples(module: nn.Module) -> None:
    """Put :class:`Enlarge` in the place of mmseg's ``Upsample``, in place."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, Upsample):
                setattr(parent, name, Enlarge(child))
