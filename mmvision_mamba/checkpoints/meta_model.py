"""A model's names and shapes without its memory."""

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn


def build_on_meta(cfg: Config) -> nn.Module:
    """The model of a config of mmdet or mmseg on torch's meta device: shapes without memory."""
    with DefaultScope.overwrite_default_scope(cfg.default_scope), torch.device('meta'):
        return MODELS.build(cfg.model).eval()
