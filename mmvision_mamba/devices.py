"""Where a model predicts, and in what precision: mmdet and mmseg are tested in float32 alone."""

import re

import torch
from torch import Tensor, nn

from .errors import InputError

DTYPES = {'bfloat16': torch.bfloat16, 'float16': torch.float16}
# What boxes, masks and label maps are made of: mmcv's NMS takes float32, regions of interest take
# the type of the maps that they are cut from, and bfloat16 has 8 bits for a coordinate.
_PARTS = re.compile(r'(^|\.|_)(neck|head|conv_seg)(\.\d+)?$')


def torch_device(name: str | torch.device) -> torch.device:
    """The device of a name; of ``'auto'`` the best that is here.

    Raises:
        InputError: It is not here.
    """
    if str(name) == 'auto':
        if torch.cuda.is_available():
            return torch.device('cuda')
        return torch.device('mps' if torch.backends.mps.is_available() else 'cpu')
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).strip().split('\n')[0]
        raise InputError(f'device {name} cannot be used: {reason}') from error
    return device


def autocast_dtype(name: str | None) -> torch.dtype | None:
    """The type called ``name``; None for None.

    Raises:
        InputError: There is no such type.
    """
    if name is not None and name not in DTYPES:
        raise InputError(f'amp is {name!r}; expected one of {", ".join(DTYPES)}, or None')
    return DTYPES.get(name)


def give_float32(module: nn.Module) -> None:
    """Have the necks and heads of a detector or segmentor hand on float32 under autocast."""
    for name, part in module.named_modules():
        if _PARTS.search(name) and not isinstance(part, nn.ModuleList):
            part.register_forward_hook(lambda part, args, output: _as_float32(output))


def _as_float32(output):
    if isinstance(output, Tensor):
        return output.float() if output.is_floating_point() else output
    if isinstance(output, dict):
        return {key: _as_float32(value) for key, value in output.items()}
    if isinstance(output, list | tuple):
        return type(output)(map(_as_float32, output))
    return output
