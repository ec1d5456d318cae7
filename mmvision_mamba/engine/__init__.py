from ..errors import InputError
from .checkpoint_match import CheckpointMatchHook

__all__ = ['CheckpointMatchHook', 'InputError']
