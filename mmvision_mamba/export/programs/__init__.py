"""Models as programs: modules of tensors in and tensors out, which ``torch.export`` records."""

from .program import PARTS, Program, build_program
from .recording import quiet, record

__all__ = ['PARTS', 'Program', 'build_program', 'quiet', 'record']
