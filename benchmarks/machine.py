"""The machine that a benchmark ran on, in words."""

from mmvision_mamba.analysis.machine import machine

__all__ = ['machine']
