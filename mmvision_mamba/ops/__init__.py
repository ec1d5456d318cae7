"""Operators of the backbones. Depends on torch alone."""

from .batch_norm import BatchNorm2d
from .scan import available_backends, selective_scan
from .self_attention import attention

__all__ = ['BatchNorm2d', 'attention', 'available_backends', 'selective_scan']
