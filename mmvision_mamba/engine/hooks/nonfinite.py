"""Losses that are infinite or not a number: their step is skipped, and named, but not for long.

And the state of a training run, which is not saved where it is not finite.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from mmengine.dist import all_gather_object, all_reduce
from mmengine.hooks import EMAHook, Hook, LoggerHook
from mmengine.optim import OptimWrapperDict
from mmengine.registry import HOOKS
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm
from torch.optim import Adam, Optimizer

from ...errors import InputError

# Averages of squares: of gradients in torch's optimizers, of activations in batch norms.
_SQUARES = ('exp_avg_sq', 'exp_avg_sqs', 'square_avg', 'running_var')


class _Iteration(NamedTuple):
    """What is kept of a training iteration until its flags are read."""

    number: int
    names: list[str]  # of the losses
    values: Tensor
    flags: Tensor  # two of bool: not finite in any process; the optimizer's step did nothing
    stepped: bool  # whether the optimizer was called
    images: list[str]


@HOOKS.register_module()
class NonFiniteLossHook(Hook):
    """Skip the optimizer's step where a gradient is not finite; stop after too many in a row.

    All processes skip the same steps. Statistics of batch norms, which the forward pass has changed
    by then, are put back. Under fp16 the loss scaler skips steps by itself where only the scaled
    gradients overflow: that is how it finds its scale, and they are not counted here.

    In a row are iterations between which no step was taken: under gradient accumulation those with
    a finite loss, whose gradients are thrown away with the others', do not end it.

    A GPU is not waited for: a fused optimizer skips its step by a flag that stays on the device
    (the tools' configs have their AdamW fused on a GPU), others need it read before the step; what
    was skipped is read, told and counted at the logger's interval.

    Args:
        max_skipped: How many iterations in a row may have a loss or gradient that is not finite.

    Raises (in training):
        InputError: One more, naming the iteration, the terms of the loss and the images; or
            training ends on them, with ``max_skipped`` in a row or without any step taken.
    """

    def __init__(self, max_skipped: int = 10) -> None:
        self.max_skipped = max_skipped
        self._in_a_row = 0
        self._steps = 0
        self._waiting: list[_Iteration] = []

    def before_train(self, runner) -> None:
        optimizer = runner.optim_wrapper.optimizer
        self._scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
        optimizer.register_step_pre_hook(self._drop_bad_gradients)
        optimizer.register_step_post_hook(_forget_flag)
        self._buffers = [buffer for buffer in runner.model.buffers() if buffer.is_floating_point()]
        parameters = [p for group in optimizer.param_groups for p in group['params']]
        waits = any(p.device.type != 'cpu' for p in parameters) or _skips_by_flag(optimizer)
        self._interval = _logging_interval(runner) if waits else 1

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        self._before = [buffer.clone() for buffer in self._buffers]
        self._stepped, self._skipped, self._idle = False, None, None

    def _drop_bad_gradients(self, optimizer, args, kwargs) -> None:
        """Before a step, which leaves alone every parameter without a gradient."""
        self._stepped = True
        if self._scaler is not None and self._scaler.is_enabled():
            # It has looked at them: called is only what may step, or is told not to by its flag.
            self._idle = getattr(optimizer, 'found_inf', None)
            return
        parameters = [p for group in optimizer.param_groups for p in group['params']]
        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = get_total_norm(gradients)
        sharded = isinstance(norm, DTensor)
        self._skipped = _in_any_process(~(norm.full_tensor() if sharded else norm).isfinite())
        if _skips_by_flag(optimizer) and not sharded:
            optimizer.found_inf = self._skipped.float()
        elif self._skipped:
            optimizer.zero_grad(set_to_none=True)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        names = [name for name in outputs if 'loss' in name]  # what MMEngine adds up
        values = torch.stack([torch.as_tensor(outputs[name]).detach().float() for name in names])
        bad = _in_any_process(~values.isfinite().all())
        skipped = torch.zeros_like(bad) if self._skipped is None else self._skipped
        idle = skipped if self._idle is None else self._idle.bool()
        bad = bad | skipped
        for buffer, before in zip(self._buffers, self._before):
            torch.where(bad, before, buffer, out=buffer)
        flags = torch.stack((bad, idle))
        images = _images(data_batch)
        number = runner.iter + 1
        self._waiting.append(_Iteration(number, names, values, flags, self._stepped, images))
        if self.every_n_train_iters(runner, self._interval):
            self._review(runner)

    def after_train(self, runner) -> None:
        self._review(runner)
        if self._in_a_row and (self._steps == 0 or self._in_a_row >= self.max_skipped):
            taken = f'after {self._steps} steps' if self._steps else 'without a step'
            raise InputError(
                f'training ended {taken}: the last {self._in_a_row} iterations had a loss or '
                'gradient that is not finite, and were skipped; the log has their images'
            )

    def _review(self, runner) -> None:
        """Read the flags of the iterations since the last time, all at once, and count."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        flags = torch.stack([iteration.flags for iteration in waiting]).tolist()
        for iteration, (bad, idle) in zip(waiting, flags):
            if bad:
                self._in_a_row += 1
                self._report(runner, iteration)
            elif iteration.stepped and not idle:
                self._steps += 1
                self._in_a_row = 0

    def _report(self, runner, iteration: _Iteration) -> None:
        # The sum is not finite where any of its terms is not.
        names, values = iteration.names, iteration.values.tolist()
        bad = [
            f'{name} is {value}'
            for name, value in zip(names, values)
            if not math.isfinite(value) and (name != 'loss' or len(names) == 1)
        ]
        message = (
            f'iteration {iteration.number}: {_found(bad, iteration.images)}; '
            f'step skipped, {self._in_a_row} in a row'
        )
        if self._in_a_row > self.max_skipped:
            raise InputError(
                f'{message} (at most {self.max_skipped}: NonFiniteLossHook.max_skipped); look at '
                'these images and their annotations, lower the learning rate, clip gradients '
                '(optim_wrapper.clip_grad.max_norm=1), or use bfloat16 in place of float16; '
                '--resume goes on from the last checkpoint'
            )
        runner.logger.warning(message)


def _skips_by_flag(optimizer: Optimizer) -> bool:
    """Whether an optimizer's step does nothing, on its own device, where ``found_inf`` is 1.

    torch's fused SGD is none: skipped in its first step, it goes on with momenta that were never
    written.
    """
    fused = all(group.get('fused') for group in optimizer.param_groups)
    return fused and isinstance(optimizer, Adam)  # AdamW is one


def _forget_flag(optimizer: Optimizer, args, kwargs) -> None:
    # A loss scaler's own, in whose place this one is, is deleted by the scaler.
    optimizer.found_inf = None


def _logging_interval(runner) -> int:
    loggers = [hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)]
    return min(loggers, default=10)


def state_defects(runner) -> str:
    """What is not finite in the weights, running statistics and moments of all processes.

    Args:
        runner: A runner in training, whose model may be sharded.

    Returns:
        The first few tensors by name, and how many more there are; empty where all is well.
    """
    own = [
        f'{name} {defect}' for name, tensor in _state(runner) if (defect := _defect(name, tensor))
    ]
    found = sorted({defect for defects in all_gather_object(own) for defect in defects})
    more = f' and {len(found) - 3} more' if len(found) > 3 else ''
    return ', '.join(found[:3]) + more


def _state(runner) -> Iterator[tuple[str, Tensor]]:
    """Every tensor that training changes, by a name that says where it is."""
    for name, tensor in runner.model.state_dict().items():
        yield _unwrapped(name), tensor
    for hook in runner.hooks:
        if isinstance(hook, EMAHook):
            for name, tensor in hook.ema_model.state_dict().items():
                yield f'averaged {_unwrapped(name)}', tensor
    names = {parameter: _unwrapped(name) for name, parameter in runner.model.named_parameters()}
    wrapper = runner.optim_wrapper
    wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    for wrapper in wrappers:
        for parameter, values in wrapper.optimizer.state.items():
            for key, value in values.items():
                yield f'{names.get(parameter, "?")}.{key}', value


def _unwrapped(name: str) -> str:
    return name.removeprefix('module.')


def _defect(name: str, tensor: object) -> str | None:
    """What cannot be right about a tensor; None for what holds no floats."""
    if isinstance(tensor, DTensor):
        tensor = tensor.to_local()
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or not tensor.numel():
        return None
    least, most = (float(value) for value in tensor.aminmax())
    if not math.isfinite(least) or not math.isfinite(most):
        return 'is not finite'
    if name.endswith(_SQUARES) and least < 0:
        return f'is an average of squares and negative ({least:.3g})'
    return None


def _in_any_process(flag: Tensor) -> Tensor:
    """Whether a flag is set in any process, on the flag's device."""
    flag = flag.to(torch.uint8)
    all_reduce(flag, 'max')
    return flag.bool()


def _images(data_batch) -> list[str]:
    samples = data_batch.get('data_samples') or [] if isinstance(data_batch, dict) else []
    return [str(getattr(sample, 'img_path', '?')) for sample in samples]


def _found(bad: list[str], images: list[str]) -> str:
    """What is not finite, and in which images, of all processes."""
    found = all_gather_object((bad, images))
    guilty = [each for each in found if each[0]] or found
    terms = [term for terms, _ in guilty for term in terms] or ['a gradient is not finite']
    names = [name for _, names in guilty for name in names]
    return f'{", ".join(terms)} (images: {", ".join(names)})'
