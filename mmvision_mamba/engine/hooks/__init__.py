from .checkpoint import DurableCheckpointHook
from .checkpoint_match import CheckpointMatchHook
from .early_stop import EarlyStopHook
from .heap import HeapTrimHook
from .nonfinite import NonFiniteLossHook
from .preemption import PreemptionHook
from .progress import ProgressHook
from .run_summary import RunSummaryHook
from .throughput import ThroughputHook

__all__ = [
    'CheckpointMatchHook',
    'DurableCheckpointHook',
    'EarlyStopHook',
    'HeapTrimHook',
    'NonFiniteLossHook',
    'PreemptionHook',
    'ProgressHook',
    'RunSummaryHook',
    'ThroughputHook',
]
