from .checkpoint_match import CheckpointMatchHook
from ..errors import InputError

__all__ = ['CheckpointMatchHook', 'InputError']
