"""The backbone of a model by itself."""

from torch import Tensor, nn


class Backbone(nn.Module):
    """Maps of strides 4, 8, 16 and 32, as many as the model's neck or head takes.

    Args:
        backbone: In evaluation mode.
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.output_names = tuple(f'stage{index + 1}' for index in backbone.out_indices)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """``(N, C, H, W)`` float32, normalised, to ``(N, C_i, H_i, W_i)`` for each stage."""
        return tuple(self.backbone(image))
