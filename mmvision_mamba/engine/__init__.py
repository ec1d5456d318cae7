from ..errors import InputError
from . import console, sharding  # noqa: F401  (registration)
from .hooks import (
    CheckpointMatchHook,
    DurableCheckpointHook,
    EarlyStopHook,
    HeapTrimHook,
    NonFiniteLossHook,
    PreemptionHook,
    RunSummaryHook,
    ThroughputHook,
)
from .loops import ResumableEpochLoop, ResumableIterLoop
from .optimizer import LayerDecayOptimWrapperConstructor

__all__ = [
    'CheckpointMatchHook',
    'DurableCheckpointHook',
    'EarlyStopHook',
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
