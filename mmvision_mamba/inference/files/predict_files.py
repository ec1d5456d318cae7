"""Predictions on any number of files, written as they come: what ``tools/predict.py`` does."""

import errno
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from signal import Signals
from typing import Any

import numpy as np

from ...engine import stop_signals
from ...engine.work_dir_lock import lock_work_dir
from ...errors import InputError
from ..image_files import holds_several
from ..predictor import Predictor
from ..results import DetectionResult
from .progress import ImageProgress
from .saving import Item, Result, Saver
from .sources import Found, Source, shown
from .videos import Video

LOCK = '.prediction.lock'
_WRITERS = min(4, os.cpu_count() or 1)
# Held for the writers at once, of whichever there is more.
_MOST_ITEMS = 4 * _WRITERS
_MOST_PIXELS = 100_000_000
# As killed runs leave files, and videos.
_UNFINISHED = ('*.????????.partial', '????????.partial.mp4')


@dataclass
class Tally:
    """What became of the images, a video's frames among them.

    Attributes:
        written: Those whose results are written.
        failed: Files, or frames, that could not be read or whose results could not be written.
        objects: How many a detector found in all of them, of the wanted ones; None of a segmentor.
        without: Those in which it found none.
        highest: The highest score of an object of a wanted class in one of those; None, if there
            is none at all.
        first_alone: Files of several images, such as GIFs, of which the first was predicted on.
        stopped: The signal that ended it before the end.
        seconds: How long it took.
    """

    written: int = 0
    failed: int = 0
    objects: int | None = None
    without: int = 0
    highest: float | None = None
    first_alone: int = 0
    stopped: Signals | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Wanted:
    """Which objects of a detector are written.

    Attributes:
        score: Those of this score and above.
        classes: Those of these classes; of all, if it is empty.
    """

    score: float
    classes: Sequence[str] = ()

    def of(self, result: Result, tally: Tally) -> Result:
        """What is to be written of a result, counted."""
        if not isinstance(result, DetectionResult):
            return result
        if self.classes:
            result = result.of_classes(self.classes)
        kept = result.above(self.score)
        tally.objects = (tally.objects or 0) + len(kept)
        if not len(kept):
            tally.without += 1
            if len(result):
                tally.highest = max(tally.highest or 0.0, float(result.scores.max()))
        return kept


def take_folder(folder: Path, sources: Sequence[Source] = ()) -> None:
    """Make a folder for results, or take that of an earlier run, for this process alone.

    Args:
        folder: For the results.
        sources: None of which may lie in it.

    Raises:
        InputError: It cannot be written to, another run has it, a source lies in it, or it holds
            files of others', which might have the names of results.
    """
    true = os.path.realpath(folder)
    for parent in {source.path.parent for source in sources}:
        if Path(os.path.realpath(parent)).is_relative_to(true):
            raise InputError(f'{shown(parent)} lies in {shown(folder)}: give --out a new folder')
    try:
        if folder.is_dir() and not Path(folder, LOCK).exists() and any(folder.iterdir()):
            raise InputError(
                f'{shown(folder)} holds files that no run of this tool wrote, and results might '
                'take their names: give --out a new folder'
            )
        lock_work_dir(folder, lock=LOCK, run='prediction', option='--out')
    except OSError as error:
        raise InputError(
            f'{error.strerror}: {shown(folder)} cannot be written to; give another --out'
        ) from error
    for pattern in _UNFINISHED:
        for file in folder.rglob(pattern):
            file.unlink(missing_ok=True)


def predict_files(
    predictor: Predictor,
    sources: Sequence[Source],
    savers: Sequence[Saver],
    wanted: Wanted,
    progress: ImageProgress,
) -> Tally:
    """Predict on the sources in order, and write the results while the next are computed.

    A file that cannot be read is said and passed over. SIGTERM, Ctrl-C or a closed terminal end it
    once the results at hand are written. The savers are entered, and left, by the caller.

    Raises:
        OSError: Results cannot be written, on a full disk, say.
    """
    tally, started = Tally(), time.monotonic()

    def failed(item: Item, error: Exception) -> None:
        tally.failed += 1
        progress.console.print(f'passed over: {_reason(item, error)}')
        if not item.source.is_video:
            progress.advance()

    def written(first_alone: bool) -> None:
        tally.written += 1
        tally.first_alone += first_alone
        progress.advance()

    release = stop_signals.hold('what is predicted so far is written')
    writing = _Writing(savers, written, failed)
    try:
        with closing(_predict(predictor, sources, failed)) as results:
            for item, result in results:
                writing.put(item, wanted.of(result, tally))
                if stop_signals.received():
                    break
        writing.finish()
    finally:
        writing.give_up()
        release()
    tally.stopped = stop_signals.received()
    tally.seconds = time.monotonic() - started
    return tally


def _reason(item: Item, error: Exception) -> str:
    name, text = shown(item.name), shown(' '.join(str(error).split()))
    return text if name in text else f'{name}: {text}'


def _predict(
    predictor: Predictor, sources: Sequence[Source], failed: Callable[[Item, Exception], None]
) -> Iterator[tuple[Item, Result]]:
    """The items that could be read, with what was found in them."""
    given: list[tuple[Path | np.ndarray, Item]] = []  # which the predictor has not answered yet

    def images() -> Iterator[Path | np.ndarray]:
        for item in _items(sources, failed):
            image = item.source.path if item.pixels is None else item.pixels
            given.append((image, item))
            yield image

    def skip(image: Path | np.ndarray, error: Exception) -> None:
        place = next(place for place, (other, _) in enumerate(given) if other is image)
        failed(given.pop(place)[1], error)

    with closing(predictor.stream(images(), on_error=skip)) as results:
        for result in results:
            yield given.pop(0)[1], result


def _items(sources: Sequence[Source], failed: Callable[[Item, Exception], None]) -> Iterator[Item]:
    """Images, and videos frame by frame, until a signal comes."""
    for source in sources:
        for item in _frames(source, failed) if source.is_video else (Item(source),):
            if stop_signals.received():
                return
            yield item


def _frames(source: Source, failed: Callable[[Item, Exception], None]) -> Iterator[Item]:
    try:
        video = Video(source.path)
    except (InputError, OSError) as error:
        failed(Item(source), error)
        return
    frame = -1
    for frame, pixels in enumerate(video):
        yield Item(source, frame, pixels, video.rate)
    if video.lacks(frame + 1):
        error = InputError(f'only {frame + 1} of its {video.frames} frames could be read')
        failed(Item(source), error)


class _Writing:
    """Threads in which savers prepare what they write; this one then writes it, in order."""

    def __init__(
        self,
        savers: Sequence[Saver],
        written: Callable[[bool], None],
        failed: Callable[[Item, Exception], None],
    ) -> None:
        self._savers, self._written, self._failed = savers, written, failed
        self._threads = ThreadPoolExecutor(_WRITERS, 'writer')
        self._waiting: deque[tuple[Item, int, Future]] = deque()
        self._pixels = 0

    def put(self, item: Item, result: Result) -> None:
        """Have a result written; waits where the writers have too much to do."""
        height, width = result.image_size
        future = self._threads.submit(self._prepare, item, result)
        self._waiting.append((item, height * width, future))
        self._pixels += height * width
        while self._waiting and (
            self._waiting[0][2].done()
            or len(self._waiting) > _MOST_ITEMS
            or self._pixels > _MOST_PIXELS
        ):
            self._write_first()

    def finish(self) -> None:
        while self._waiting:
            self._write_first()

    def give_up(self) -> None:
        """Leave what is not begun; nothing, after :meth:`finish`."""
        self._threads.shutdown(cancel_futures=True)

    def _prepare(self, item: Item, result: Result) -> tuple[list[Any], bool]:
        prepared = [saver.prepare(item, result) for saver in self._savers]
        return prepared, item.pixels is None and holds_several(item.source.path)

    def _write_first(self) -> None:
        item, pixels, future = self._waiting.popleft()
        self._pixels -= pixels
        try:
            prepared, first_alone = future.result()
        except InputError as error:  # the file is no longer what it was
            self._failed(item, error)
            return
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            self._failed(item, error)
            return
        for saver, part in zip(self._savers, prepared):
            saver.write(item, part)
        self._written(first_alone)


def count_images(sources: Sequence[Source]) -> int | None:
    """How many images and frames there are; None where a video does not say."""
    count = 0
    for source in sources:
        if source.is_video:
            try:
                frames = Video(source.path).frames
            except (InputError, OSError):
                frames = 0  # said when its turn comes
            if frames is None:
                return None
            count += frames
        else:
            count += 1
    return count


def describe(
    tally: Tally, total: int | None, wanted: Wanted, found: Found, savers: Sequence[Saver]
) -> Iterator[str]:
    """Sentences on a prediction that has ended."""
    done = tally.written + tally.failed
    if tally.stopped:
        of = 'unknown' if total is None else f'{total:,}'
        yield (
            f'{tally.stopped.name}: ended after {done:,} of {of} images; what is written is whole'
        )
    rate = tally.written / max(tally.seconds, 1e-9)
    objects = '' if tally.objects is None else f': {_count(tally.objects, "object")}'
    yield (
        f'Predicted {_count(tally.written, "image")} in {timedelta(seconds=round(tally.seconds))} '
        f'({rate:.1f} images/s){objects}'
    )
    for saver in savers:
        yield from (f'  {shown(path)}' for path in saver.paths)
    if tally.without:
        highest = 'in them it gave none of any score'
        if tally.highest is not None:
            highest = f'the highest score there is {tally.highest:.2f}'
        of_classes = f' of {", ".join(wanted.classes)}' if wanted.classes else ''
        yield (
            f'No object{of_classes} of score {wanted.score:g} or more in {tally.without:,} of '
            f'{_count(tally.written, "image")}; {highest}'
        )
    if tally.first_alone:
        files = _count(tally.first_alone, 'file')
        yield f'Of {files} with several images, such as GIFs, the first image was predicted on'
    if found.left_out:
        yield f'Left out: {found.describe_left_out()}'
    if tally.failed:
        yield f'Passed over: {_count(tally.failed, "file")}, named above'


def _count(number: int, noun: str) -> str:
    return f'{number:,} {noun}{"" if number == 1 else "s"}'
