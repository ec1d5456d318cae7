"""The maps of an image too large to be computed at once, exactly, by parts of it.

Convolutions see a few pixels around each output and windows see nothing outside them, so each stage
can be computed part by part, with a margin around each part that is thrown away, and gives what the
whole image would, to rounding. Held are the maps that are returned, and two of the stage at hand.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from math import ceil

import torch
from torch import Tensor, nn

from ..errors import InputError
from .mambaout import MambaBlock, MambaOut
from .mambavision import MambaVision, WindowStage
from .pyramid import PyramidBackbone

# Layers are computed one after the other on a part, up to a margin of this share of its side; then
# their map is put together, and the next ones begin with a small margin again.
_MARGIN = 1 / 8


@dataclass(frozen=True)
class Local:
    """A function of maps ``(B, C, h, w)`` whose output at a pixel depends on those around it.

    Attributes:
        run: Gives ``(B, C', ceil(h / stride), ceil(w / stride))``, with what is outside as zeros.
        halo: The pixels of its input that it sees on each side.
        stride: Pixels of its input for one of its output.
    """

    run: Callable[[Tensor], Tensor]
    halo: int
    stride: int = 1

    def then(self, other: 'Local') -> 'Local':
        """Both, one after the other."""
        return Local(
            lambda x: other.run(self.run(x)),
            self.halo + self.stride * other.halo,
            self.stride * other.stride,
        )


def refuse_scan_of_whole_map(backbone: nn.Module) -> None:
    """Raise InputError for a MambaOut whose pattern has S: a scan sees all that is before it."""
    if any(isinstance(module, MambaBlock) for module in backbone.modules()):
        raise InputError(
            'a MambaOut with S in its mixers scans each map whole, which cannot be computed by '
            'parts: use tiles that are computed each for itself, or mixers of G alone'
        )


@torch.no_grad()
def stream_features(
    backbone: PyramidBackbone, image: Tensor, tile: int = 1024
) -> tuple[Tensor, ...]:
    """What ``backbone(image)`` gives in evaluation mode, in memory for its maps and a part of them.

    Parts of a map are of ``tile / 4`` positions on a side, of whichever stage; a stage of windows
    takes at least one window at a time, which its ``window_size`` bounds.

    Args:
        backbone: In evaluation mode, on any device.
        image: ``(B, in_channels, H, W)``. The maps are put together where it is, parts computed
            where the backbone is.
        tile: Side of a part in pixels of the image, 64 or more.

    Returns:
        As the backbone does.

    Raises:
        ValueError: The backbone is in training mode, ``tile`` too small, or the image of another
            shape.
        TypeError: The image is of integers, or the backbone of another family.
        InputError: See :func:`refuse_scan_of_whole_map`.
    """
    if any(module.training for module in backbone.modules()):
        raise ValueError('the backbone is in training mode, where an image has no maps of its own')
    if tile < 64:
        raise ValueError(f'tile must be 64 or more, got {tile}')
    stages = _stages(backbone)
    backbone.check(image)
    side = tile // 4
    device = next(backbone.parameters()).device
    outputs, x = [], image
    for i, (layers, windows) in enumerate(stages):
        for local in _fused(layers, side):
            x = stream(local, x, side, device)
        if windows is not None:
            _stream_windows(windows, x, side, device)
        if i in backbone.out_indices:
            norm = Local(lambda x, i=i: backbone.output(i, x.permute(0, 2, 3, 1)), 0)
            outputs.append(stream(norm, x, side, device, torch.contiguous_format))
    return tuple(outputs)


def stream(
    local: Local,
    x: Tensor,
    side: int,
    device: torch.device,
    memory_format: torch.memory_format = torch.channels_last,
) -> Tensor:
    """``local.run(x)``, of parts of ``side`` pixels of it at a time, computed on ``device``."""
    sizes = [ceil(size / local.stride) for size in x.shape[2:]]
    result: Tensor | None = None
    for starts in product(*(range(0, size, side) for size in sizes)):
        spans = [_span(local, start, side, size) for start, size in zip(starts, x.shape[2:])]
        part = x[:, :, spans[0].taken, spans[1].taken].to(device)
        part = local.run(part.contiguous(memory_format=torch.channels_last))
        part = part[:, :, spans[0].kept, spans[1].kept]
        if result is None:
            shape = (*part.shape[:2], *sizes)
            result = torch.empty(
                shape, dtype=part.dtype, device=x.device, memory_format=memory_format
            )
        result[:, :, spans[0].made, spans[1].made] = part.to(x.device)
    return result


@dataclass(frozen=True)
class _Span:
    """Along an axis: what is taken of the input, kept of the output, and where that belongs."""

    taken: slice
    kept: slice
    made: slice


def _span(local: Local, start: int, side: int, size: int) -> _Span:
    end = min(start + side, ceil(size / local.stride))
    # From a multiple of the stride, so that strided convolutions meet the pixels that they should.
    first = max(0, start - ceil(local.halo / local.stride))
    last = min(size, (end - 1) * local.stride + 1 + local.halo)
    return _Span(
        slice(first * local.stride, last), slice(start - first, end - first), slice(start, end)
    )


def _fused(layers: Iterable[Local], side: int) -> Iterator[Local]:
    """Layers joined, as far as their margin stays small beside a part of ``side`` pixels."""
    joined: Local | None = None
    for layer in layers:
        both = layer if joined is None else joined.then(layer)
        if joined is not None and both.halo > _MARGIN * side * both.stride:
            yield joined
            both = layer
        joined = both
    if joined is not None:
        yield joined


def _stream_windows(stage: WindowStage, x: Tensor, side: int, device: torch.device) -> None:
    """Run a stage of windows over a map in place, some windows at a time."""
    sizes = [stage.window(size)[1] for size in x.shape[2:]]
    steps = [max(1, side // size) * size for size in sizes]
    for top, left in product(*(range(0, size, step) for size, step in zip(x.shape[2:], steps))):
        part = x[:, :, top : top + steps[0], left : left + steps[1]]
        part.copy_(stage.in_windows(part.to(device), *sizes))


def _stages(backbone: PyramidBackbone) -> list[tuple[list[Local], WindowStage | None]]:
    """Of each stage, with what is before it, the layers that are local, then those of windows."""
    if isinstance(backbone, MambaVision):
        return list(_mambavision_stages(backbone))
    if isinstance(backbone, MambaOut):
        refuse_scan_of_whole_map(backbone)
        return list(_mambaout_stages(backbone))
    raise TypeError(
        f'{type(backbone).__name__} cannot be computed by parts: expected MambaVision or MambaOut'
    )


def _mambavision_stages(
    backbone: MambaVision,
) -> Iterator[tuple[list[Local], WindowStage | None]]:
    before = Local(backbone.patch_embed, halo=3, stride=4)
    for level in backbone.levels:
        if isinstance(level, WindowStage):
            yield [before], level
        else:
            yield [before, *(Local(block, halo=2) for block in level.blocks)], None
        before = Local(level.downsample, halo=1, stride=2)


def _mambaout_stages(backbone: MambaOut) -> Iterator[tuple[list[Local], WindowStage | None]]:
    before = Local(lambda x: backbone.stem(x).permute(0, 3, 1, 2), halo=3, stride=4)
    for i, stage in enumerate(backbone.stages):
        if i:
            before = Local(_on_channels_last(stage.downsample), halo=1, stride=2)
        blocks = [
            Local(_on_channels_last(block), halo=max(block.conv.kernel_size) // 2)
            for block in stage.blocks
        ]
        yield [before, *blocks], None


def _on_channels_last(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """A module of maps ``(B, h, w, C)`` as a function of maps ``(B, C, h, w)``."""
    return lambda x: module(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
