"""An open model as a program, whatever its task."""

from copy import deepcopy
from dataclasses import dataclass

import torch
from mmcv.cnn import fuse_conv_bn
from torch import Tensor, nn
from torch.export import Dim

from ...backbones import MambaVision
from ...errors import InputError
from ...inference.opening import OpenModel
from .backbone import Backbone
from .pooling import replace_adaptive_pools
from .preprocess import Normalise, Preprocessed
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
        size: (height, width) of the only images that it takes; None for any.
        prepare: From an image (1, H, W, 3) uint8 in RGB, resized, to the first input.
        limit: The most objects that a detector finds; None for no limit.
    """

    module: nn.Module
    example_inputs: tuple[Tensor, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    dynamic_shapes: tuple
    task: str
    size: tuple[int, int] | None
    prepare: nn.Module
    limit: int | None = None


def build_program(
    opened: OpenModel,
    part: str = 'model',
    preprocess_inside: bool = False,
    probabilities: bool = False,
    size: tuple[int, int] | None = None,
) -> Program:
    """What is to be exported of a model.

    Args:
        opened: The model with its weights.
        part: One of :data:`PARTS`.
        preprocess_inside: Whether the program takes the image's bytes and normalises them itself.
        probabilities: Whether a segmentor's program gives those of all classes too.
        size: (height, width) in pixels of the only images that the program takes; None for any,
            which a MambaVision has not: how it cuts windows follows from an image's size.

    Raises:
        InputError: The model, or a part of it, has no program; or an option does not fit it.
    """
    if part not in PARTS:
        raise InputError(f'part is {part!r}; expected one of {", ".join(PARTS)}')
    task = 'features' if part == 'backbone' else opened.task
    if probabilities and task != 'segmentation':
        raise InputError(f'probabilities are those of a whole segmentor; this is of {task}')
    model = deepcopy(opened.module).cpu().eval().requires_grad_(False)
    for name, child in model.named_children():
        if name != 'backbone':  # which does so itself
            fuse_conv_bn(child)
    if size is None and isinstance(model.backbone, MambaVision):
        raise InputError(
            "how MambaVision cuts an image into windows follows from the image's size: name the "
            'size that the file shall be for (--size HEIGHT WIDTH)'
        )
    more: dict[str, Tensor] = {}
    limit = None
    if task == 'features':
        module = Backbone(model.backbone)
    elif task == 'segmentation':
        from .enlarging import replace_upsamples  # mmseg, which detectors do without

        check_segmentor(model)
        replace_adaptive_pools(model.decode_head)
        replace_upsamples(model.decode_head)
        module = Segmentor(model, probabilities)
        more = {'size': torch.tensor([345, 456])}
    else:
        from .detector import detector_program  # mmdet, which segmentors do without

        module = detector_program(model)
        limit = module.limit
    names = module.output_names
    # Images have different numbers of objects, so that a detector takes one at a time.
    batch = 1 if task == 'detection' else 2
    image = torch.zeros(batch, model.backbone.in_channels, *(size or (328, 520)))
    axes = (2, 3)
    prepare: nn.Module = Normalise(model.data_preprocessor)
    if preprocess_inside:
        prepare = nn.Identity()
        module = Preprocessed(module, model.data_preprocessor)
        image = image.permute(0, 2, 3, 1).contiguous().to(torch.uint8)
        axes = (1, 2)
    axes = (axes if size is None else ()) + ((0,) if batch > 1 else ())
    dynamic = dict.fromkeys(sorted(axes), Dim.DYNAMIC)
    others = tuple({} for _ in more)
    return Program(
        module=module.eval(),
        example_inputs=(image, *more.values()),
        input_names=('image', *more),
        output_names=names,
        # What a wrapper takes as *others is a tuple of its own.
        dynamic_shapes=(dynamic, others) if preprocess_inside and more else (dynamic, *others),
        task=task,
        size=size,
        prepare=prepare,
        limit=limit,
    )
