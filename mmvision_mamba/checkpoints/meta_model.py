"""A model's names and shapes without its memory."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from torch.overrides import TorchFunctionMode


class _SchedulesOnCpu(TorchFunctionMode):
    """Rates of stochastic depth are read number by number, and meta tensors hold no numbers."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.linspace:
            kwargs.setdefault('device', 'cpu')
        return func(*args, **kwargs)


@contextmanager
def meta_device() -> Iterator[None]:
    """Models are built on torch's meta device."""
    with torch.device('meta'), _SchedulesOnCpu():
        yield


def build_on_meta(cfg: Config) -> nn.Module:
    """The model of a config of mmdet or mmseg on torch's meta device: shapes without memory."""
    with DefaultScope.overwrite_default_scope(cfg.default_scope), meta_device():
        return MODELS.build(cfg.model).eval()
