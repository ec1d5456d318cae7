from ..errors import InputError
from . import checkpoint_loader, sharding  # noqa: F401  (registration)
from .checkpoint_match import CheckpointMatchHook

__all__ = ['CheckpointMatchHook', 'InputError']
