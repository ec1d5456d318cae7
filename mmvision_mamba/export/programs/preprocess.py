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
        self.normalise = Normalise(preprocessor)

    def forward(self, image: Tensor, *others: Tensor) -> tuple[Tensor, ...] | Tensor:
        """As the program's, of bytes."""
        return self.program(self.normalise(image), *others)


class Normalise(nn.Module):
    """From an image's bytes to what a network takes.

    Args:
        preprocessor: mmdet's or mmseg's, whose channels' order, mean and deviation are used.
    """

    def __init__(self, preprocessor: nn.Module) -> None:
        super().__init__()
        # The pipeline loads BGR; a preprocessor that converts it hands on RGB.
        self.reversed = not preprocessor._channel_conversion
        for name, otherwise in (('mean', 0.0), ('std', 1.0)):
            value = getattr(preprocessor, name, torch.full((3, 1, 1), otherwise))
            self.register_buffer(name, value.detach().clone())

    def forward(self, image: Tensor) -> Tensor:
        """``(N, H, W, 3)`` uint8 RGB to ``(N, 3, H, W)`` float32."""
        image = image.permute(0, 3, 1, 2).float()
        if self.reversed:
            image = image.flip(1)
        return (image - self.mean) / self.std
