"""An open model as a program, whatever its task."""

from dataclasses import dataclass

from torch import Tensor, nn

from ...errors import InputError
from ...inference.opening import OpenModel

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
    """

    module: nn.Module
    example_inputs: tuple[Tensor, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    dynamic_shapes: tuple
    task: str


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
    raise InputError(f'{type(opened.module).__name__} is not exported yet')
