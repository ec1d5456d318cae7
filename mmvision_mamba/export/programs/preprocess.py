"""Normalisation as a part of a program, which then takes an image's bytes."""

import torch
from torch import Tensor, nn


class Preprocessed(nn.Module):
    """A program that normalises its image, ``(N, H, W, 3)`` uint8 in RGB, itself.

    Args:
        program: Takes an image ``(N, 3, H, W)`` float32 that is normalised, and maybe more.
        preprocessor: mmdet's or mmseg's, whose channels' order, mean and deviation are used.
    """

    def __init__(self, program: nn.Module, preprocessor: nn.Module) -> None:
        super().__init__()
        self.program = program
        # The pipeline loads BGR; a preprocessor that converts it hands on RGB.
        self.reversed = not preprocessor._channel_conversion
        # One that does not normalise has neither.
        mean, std = getattr(preprocessor, 'mean', None), getattr(preprocessor, 'std', None)
        self.register_buffer('mean', torch.zeros(1, 1, 1) if mean is None else mean.clone())
        self.register_buffer('std', torch.ones(1, 1, 1) if std is None else std.clone())

    def forward(self, image: Tensor, *others: Tensor) -> tuple[Tensor, ...] | Tensor:
        """As the program's, of bytes."""
        image = image.permute(0, 3, 1, 2).float()
        if self.reversed:
            image = image.flip(1)
        return self.program((image - self.mean) / self.std, *others)
