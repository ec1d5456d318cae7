"""What one process decides or writes for all, so that they go on together or end together."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from mmengine.dist import broadcast_object_list, is_main_process

from ..errors import InputError

T = TypeVar('T')


@contextmanager
def ending_together() -> Iterator[None]:
    """Where the main process meets a user's error or a disk's, every process raises it.

    Otherwise the others would wait for it in their next collective. All processes have to enter.
    """
    error = None
    try:
        yield
    except (InputError, OSError) as caught:
        if getattr(caught, 'is_known_to_all', False):  # from such a block within this one
            raise
        error = caught
    told = [error]
    broadcast_object_list(told)
    if error or told[0]:
        error = error or told[0]
        error.is_known_to_all = True
        raise error


def from_main_process(decide: Callable[[], T]) -> T:
    """What a function returns in the main process, which alone calls it.

    Raises:
        InputError, OSError: In every process, what it raised there.
    """
    decided = [None]
    with ending_together():
        if is_main_process():
            decided = [decide()]
    broadcast_object_list(decided)
    return decided[0]
