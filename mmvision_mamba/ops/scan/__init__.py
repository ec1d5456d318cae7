"""The selective scan: one public function, one module for each backend."""

from .api import available_backends, selective_scan

__all__ = ['available_backends', 'selective_scan']
