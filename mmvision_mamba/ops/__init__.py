"""Operators of the backbones. Depends on torch alone."""

from .scan import available_backends, selective_scan
from .self_attention import attention

__all__ = ['attention', 'available_backends', 'selective_scan']
