from ..errors import InputError
from . import checkpoint_loader, sharding  # noqa: F401  (registration)
from .checkpoint_hook import DurableCheckpointHook
from .checkpoint_match import CheckpointMatchHook
from .heap import HeapTrimHook
from .loops import ResumableEpochLoop, ResumableIterLoop
from .nonfinite import NonFiniteLossHook
from .optimizer import LayerDecayOptimWrapperConstructor
from .preemption import PreemptionHook
from .run_summary import RunSummaryHook
from .throughput import ThroughputHook

__all__ = [
    'CheckpointMatchHook',
    'DurableCheckpointHook',
    'HeapTrimHook',
    'InputError',
    'LayerDecayOptimWrapperConstructor',
    'NonFiniteLossHook',
    'PreemptionHook',
    'ResumableEpochLoop',
    'ResumableIterLoop',
    'RunSummaryHook',
    'ThroughputHook',
]
