from ..errors import InputError
from . import checkpoint_loader  # noqa: F401  (registration)
from .checkpoint_match import CheckpointMatchHook
from .optimizer import LayerDecayOptimWrapperConstructor

__all__ = ['CheckpointMatchHook', 'InputError', 'LayerDecayOptimWrapperConstructor']
