"""Operators of the backbones. Depends on torch alone."""

from .selective_scan import available_backends, selective_scan

__all__ = ['available_backends', 'selective_scan']
