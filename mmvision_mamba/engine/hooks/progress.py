"""What is run, said once before the first iteration, and then how far it is."""

import time
from collections.abc import Sequence
from datetime import timedelta

from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook, LoggerHook
from mmengine.registry import HOOKS
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ..console import Console
from ..describe import describe_run

# Plain lines are at most this far apart, however slow an iteration is.
_SECONDS_BETWEEN_LINES = 30.0
_SECONDS_BETWEEN_REFRESHES = 0.2
_VERBS = {'train': 'Training', 'val': 'Validating', 'test': 'Testing'}


@HOOKS.register_module()
class ProgressHook(Hook):
    """Report progress on the console: a bar on a terminal, lines in a file or a pipe.

    Registered by ``tools/train.py`` and ``tools/test.py``. A line comes after the first iteration,
    every ``LoggerHook.interval`` and at least every 30 seconds; with ``--verbose`` none, since
    LoggerHook's are shown. Validation and tests end in their metrics.
    """

    priority = 'LOW'  # after IterTimerHook and ThroughputHook, which measure

    def before_train(self, runner) -> None:
        self._begin(runner, 'train')

    def before_test(self, runner) -> None:
        self._begin(runner, 'test')
        self._console.showing_results = True

    def before_val(self, runner) -> None:
        self._start_pass('val', len(runner.val_dataloader))

    def before_test_epoch(self, runner) -> None:
        self._start_pass('test', len(runner.test_dataloader))

    def before_train_epoch(self, runner) -> None:
        self._start_pass('train', runner.max_iters)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        self._console.building = False

    def before_test_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        self._console.building = False

    def _begin(self, runner, mode: str) -> None:
        self._console = Console.current
        self._shown = is_main_process() and not self._console.verbose
        self._tasks = {}
        self._bar = None
        loggers = [hook for hook in runner.hooks if isinstance(hook, LoggerHook)]
        self._interval = loggers[0].interval if loggers else 50
        self._started = time.monotonic()
        for line in describe_run(runner, mode, self._console.log_file):
            self._console.report(line)
        if self._shown and self._console.rich.is_terminal:
            columns = (
                TextColumn('{task.description}'),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TextColumn('{task.fields[facts]}'),
            )
            # Drawn after iterations and not by a thread, which workers of a loader would inherit.
            self._bar = Progress(
                *columns,
                console=self._console.rich,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._console.start_bar(self._bar)

    def _start_pass(self, mode: str, length: int) -> None:
        self._pass_started = time.monotonic()
        self._reported = 0.0
        self._images = 0
        if self._bar is not None and mode not in self._tasks:
            self._tasks[mode] = self._bar.add_task(_VERBS[mode], total=length, facts='')
            self._bar.refresh()

    def _end_pass(self, mode: str) -> None:
        if self._bar is not None:
            self._bar.remove_task(self._tasks.pop(mode))
            self._bar.refresh()

    def _after_iter(
        self,
        runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: dict | Sequence | None = None,
        mode: str = 'train',
    ) -> None:
        if not self._shown:
            return
        if mode != 'train':
            self._images += len(outputs) * get_world_size()
        elapsed = time.monotonic() - self._reported
        if self._bar is not None:
            if elapsed > _SECONDS_BETWEEN_REFRESHES:
                done = runner.iter + 1 if mode == 'train' else batch_idx + 1
                facts = self._facts(runner, mode)
                title = _title(runner) if mode == 'train' else _VERBS[mode]
                self._bar.update(
                    self._tasks[mode], completed=done, facts=facts, description=title, refresh=True
                )
                self._reported = time.monotonic()
        elif (
            self._reported == 0.0
            or self.every_n_inner_iters(batch_idx, self._interval)
            or elapsed > _SECONDS_BETWEEN_LINES
        ):
            self._console.print(f'{_place(runner, batch_idx, mode)}  {self._facts(runner, mode)}')
            self._reported = time.monotonic()

    def after_val_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        self._report_metrics(runner, 'val', len(runner.val_dataloader), metrics)

    def after_test_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        self._report_metrics(runner, 'test', len(runner.test_dataloader), metrics)

    def _report_metrics(self, runner, mode: str, length: int, metrics: dict | None) -> None:
        if self._shown:
            self._end_pass(mode)
            scores = '  '.join(
                f'{name}: {value:.4f}' if isinstance(value, float) else f'{name}: {value}'
                for name, value in (metrics or {}).items()
            )
            place = _place(runner, length - 1, mode)
            self._console.print(f'{place}  {scores or "no metrics"}')
            # Iteration-based training goes on within its pass.
            self._reported = time.monotonic()

    def after_train(self, runner) -> None:
        self._console.stop_bar()
        if self._shown:
            took = timedelta(seconds=int(time.monotonic() - self._started))
            self._console.print(
                f'Trained to iteration {runner.iter} of {runner.max_iters} in {took}: '
                f'checkpoints are in {runner.work_dir}'
            )

    def after_test(self, runner) -> None:
        self._console.stop_bar()

    def _facts(self, runner, mode: str) -> str:
        hub = runner.message_hub
        facts = {}
        if mode == 'train':
            if 'train/loss' in hub.log_scalars:
                facts['loss'] = f'{hub.get_scalar("train/loss").mean(10):.4f}'
            if 'train/images_per_second' in hub.log_scalars:
                rate = hub.get_scalar('train/images_per_second').current()
                facts['images/s'] = f'{rate:.1f}'
        else:
            rate = self._images / (time.monotonic() - self._pass_started)
            facts['images/s'] = f'{rate:.1f}'
        if hub.get_info('eta') is not None:
            facts['eta'] = timedelta(seconds=int(hub.get_info('eta')))
        return '  '.join(f'{name}: {value}' for name, value in facts.items())


def _title(runner) -> str:
    if not runner.log_processor.by_epoch:
        return _VERBS['train']
    return f'Epoch {runner.epoch + 1}/{runner.max_epochs}'


def _place(runner, batch_idx: int, mode: str) -> str:
    """As MMEngine's log lines begin: ``Epoch(train) [3][ 20/120]`` or ``Iter(train) [20/1900]``."""
    loader = getattr(runner, f'{mode}_dataloader')
    by_epoch = runner.log_processor.by_epoch
    total = len(loader) if by_epoch or mode != 'train' else runner.max_iters
    done = batch_idx + 1 if by_epoch or mode != 'train' else runner.iter + 1
    unit = 'Epoch' if by_epoch else 'Iter'
    epoch = ''
    if by_epoch and mode != 'test':
        # It has been counted when its validation begins.
        epoch = f'[{runner.epoch + (mode == "train")}]'
    return f'{unit}({mode}) {epoch}[{done:>{len(str(total))}}/{total}]'
