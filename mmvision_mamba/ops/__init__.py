"""Operators of the backbones. Depends on torch alone."""

from .batch_norm import BatchNorm2d
from .onednn_linear import Linear, linear
from .scan import available_backends, selective_scan
from .self_attention import attention

__all__ = ['BatchNorm2d', 'Linear', 'attention', 'available_backends', 'linear', 'selective_scan']
