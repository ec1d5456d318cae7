"""Operators of the backbones. Depends on torch alone."""

from .onednn_linear import Linear, linear
from .scan import available_backends, selective_scan
from .self_attention import attention

__all__ = ['Linear', 'attention', 'available_backends', 'linear', 'selective_scan']
