"""An open model as a program, whatever its task."""

from copy import deepcopy
from dataclasses import dataclass

import torch
from mmcv.cnn import fuse_conv_bn
from torch import Tensor, nn
from torch.export import Dim

from ...errors import InputError
from ...inference.opening import OpenModel
from .backbone import Backbone
from .pooling import replace_adaptive_pools
from .preprocess import Preprocessed
from .segmentor import Segmentor, check_segmentor

PARTS = ('model', 'backbone')


@dataclass(frozen=True)
class Program:
    """A module that ``torch.export`` records, and how.

    Attributes:
        module: In evaluation mode; tensors in, a tensor or a tuple of tensors out.
        example_inputs: Of one size that it takes, on the CPU.
        input_names, output_names: In the order of its arguments and results.
        dynamic_shapes: As ``torch.export.export`` takes them.
        task: ``'detection'``, ``'segmentation'`` or ``'features'``.
        limit: The most objects that a detector finds; None for no limit.
    """

    module: nn.Module
    example_inputs: tuple[Tensor, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    dynamic_shapes: tuple
    task: str
    limit: int | None = None


def build_program(
    opened: OpenModel,
    part: str = 'model',
    preprocess_inside: bool = False,
    probabilities: bool = False,
) -> Program:
    """What is to be exported of a model.

    Args:
        opened: The model with its weights.
        part: One of :data:`PARTS`.
        preprocess_inside: Whether the program takes the image's bytes and normalises them itself.
        probabilities: Whether a segmentor's program gives those of all classes too.

    Raises:
        InputError: The model, or a part of it, has no program; or an option does not fit it.
    """
    if part not in PARTS:
        raise InputError(f'part is {part!r}; expected one of {", ".join(PARTS)}')
    task = 'features' if part == 'backbone' else opened.task
    if probabilities and task != 'segmentation':
        raise InputError(f'probabilities are those of a whole segmentor; this is of {task}')
    model = deepcopy(opened.module).cpu().eval().requires_grad_(False)
    batch, limit = Dim.DYNAMIC, None
    more: dict[str, Tensor] = {}
    if task == 'features':
        module = Backbone(model.backbone)
    elif task == 'segmentation':
        check_segmentor(model)
        model.decode_head = fuse_conv_bn(model.decode_head)
        replace_adaptive_pools(model.decode_head)
        module = Segmentor(model, probabilities)
        more = {'size': torch.tensor([345, 456])}
    else:
        from .detector import detector_program  # mmdet, which segmentors do without

        module, batch = detector_program(model), None
        limit = module.limit
    image = _example(model.backbone, batched=batch is not None)
    names = module.output_names
    if preprocess_inside:
        module = Preprocessed(module, model.data_preprocessor)
        image = torch.zeros(len(image), *image.shape[2:], 3, dtype=torch.uint8)
        sides = {0: batch, 1: Dim.DYNAMIC, 2: Dim.DYNAMIC}
    else:
        sides = {0: batch, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    return Program(
        module=module.eval(),
        example_inputs=(image, *more.values()),
        input_names=('image', *more),
        output_names=names,
        # What a wrapper takes as *others is a tuple of its own.
        dynamic_shapes=(sides, ({},))
        if preprocess_inside and more
        else (sides, *({} for _ in more)),
        task=task,
        limit=limit,
    )


def _example(backbone: nn.Module, batched: bool) -> Tensor:
    """An image of several windows either way: one alone would be recorded as always one."""
    sides = [
        stride * stage.window_size
        for stride, stage in zip((4, 8, 16, 32), getattr(backbone, 'levels', ()))
        if hasattr(stage, 'window_size')
    ]
    side = 2 * max(sides, default=128)
    return torch.empty(1 + batched, backbone.in_channels, side + 72, side + 264)
