"""Operators of the backbones. Depends on torch alone."""

from .linear import Linear, linear
from .selective_scan import available_backends, selective_scan

__all__ = ['Linear', 'available_backends', 'linear', 'selective_scan']
