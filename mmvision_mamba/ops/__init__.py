"""Operators of the backbones. Depends on torch alone."""

from .attention import attention
from .linear import Linear, linear
from .selective_scan import available_backends, selective_scan

__all__ = ['Linear', 'attention', 'available_backends', 'linear', 'selective_scan']
