from ..errors import InputError
from . import checkpoint_loader  # noqa: F401  (registration)
from .checkpoint_match import CheckpointMatchHook
from .heap import HeapTrimHook
from .run_summary import RunSummaryHook
from .throughput import ThroughputHook

__all__ = ['CheckpointMatchHook', 'HeapTrimHook', 'InputError', 'RunSummaryHook', 'ThroughputHook']
