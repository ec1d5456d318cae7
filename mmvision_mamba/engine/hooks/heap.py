"""Memory of the process while a model is tested."""

import ctypes
from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

_INTERVAL = 10


@HOOKS.register_module()
class HeapTrimHook(Hook):
    """Give freed memory back to the system every 10 iterations of validation and testing.

    Metrics keep something small of each image (RLEs, counts) beside bitmaps and maps that they
    free again. glibc places the small between the large, so that the holes fit no other image's
    maps and the process grows by megabytes an image, although nothing large is held. Other
    C libraries are left alone.
    """

    def _after_iter(
        self,
        runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: dict | Sequence | None = None,
        mode: str = 'train',
    ) -> None:
        if mode != 'train' and self.every_n_inner_iters(batch_idx, _INTERVAL):
            trim_heap()


def trim_heap() -> None:
    """Return the free pages of glibc's heap, those between allocations too."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, 'malloc_trim'):
        libc.malloc_trim(0)
