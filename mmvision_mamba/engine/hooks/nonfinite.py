"""Losses that are infinite or not a number: their step is skipped, and named, but not for long.

And the state of a training run, which is not saved where it is not finite.
"""

import math
from collections.abc import Iterator

import torch
from mmengine.dist import all_gather_object, all_reduce
from mmengine.hooks import EMAHook, Hook
from mmengine.optim import OptimWrapperDict
from mmengine.registry import HOOKS
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm

from ...errors import InputError

# Averages of squares: of gradients in torch's optimizers, of activations in batch norms.
_SQUARES = ('exp_avg_sq', 'exp_avg_sqs', 'square_avg', 'running_var')


@HOOKS.register_module()
class NonFiniteLossHook(Hook):
    """Skip the optimizer's step where a gradient is not finite; stop after too many in a row.

    All processes skip the same steps. Statistics of batch norms, which the forward pass has changed
    by then, are put back. Under fp16 the loss scaler skips steps by itself where only the scaled
    gradients overflow: that is how it finds its scale, and they are not counted here.

    In a row are iterations between which no step was taken: under gradient accumulation those with
    a finite loss, whose gradients are thrown away with the others', do not end it.

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
        self._step_taken = self._step_skipped = False

    def before_train(self, runner) -> None:
        runner.optim_wrapper.optimizer.register_step_pre_hook(self._drop_bad_gradients)
        self._buffers = [buffer for buffer in runner.model.buffers() if buffer.is_floating_point()]

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        self._before = [buffer.clone() for buffer in self._buffers]
        self._step_taken = self._step_skipped = False

    def _drop_bad_gradients(self, optimizer, args, kwargs) -> None:
        """Before a step, which leaves alone every parameter without a gradient."""
        parameters = [p for group in optimizer.param_groups for p in group['params']]
        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = get_total_norm(gradients)
        if isinstance(norm, DTensor):  # of a sharded model
            norm = norm.full_tensor()
        self._step_skipped = _anywhere(~norm.isfinite())
        self._step_taken = not self._step_skipped
        if self._step_skipped:
            optimizer.zero_grad(set_to_none=True)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        names = [name for name in outputs if 'loss' in name]  # what MMEngine adds up
        values = torch.stack([torch.as_tensor(outputs[name]).detach().float() for name in names])
        finite = values.isfinite()
        if not self._step_skipped and not _anywhere(~finite.all()):
            if self._step_taken:
                self._steps += 1
                self._in_a_row = 0
            return
        for buffer, before in zip(self._buffers, self._before):
            buffer.copy_(before)
        self._in_a_row += 1
        # The sum is not finite where any of its terms is not.
        bad = [
            f'{name} is {value}'
            for name, value, good in zip(names, values.tolist(), finite.tolist())
            if not good and (name != 'loss' or len(names) == 1)
        ]
        message = (
            f'iteration {runner.iter + 1}: {_found(bad, data_batch)}; '
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

    def after_train(self, runner) -> None:
        if self._in_a_row and (self._steps == 0 or self._in_a_row >= self.max_skipped):
            taken = f'after {self._steps} steps' if self._steps else 'without a step'
            raise InputError(
                f'training ended {taken}: the last {self._in_a_row} iterations had a loss or '
                'gradient that is not finite, and were skipped; the log has their images'
            )


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


def _anywhere(flag: Tensor) -> bool:
    """Whether a flag is set in any process."""
    flag = flag.to(torch.uint8)
    all_reduce(flag, 'max')
    return bool(flag)


def _found(bad: list[str], data_batch) -> str:
    """What is not finite, and in which images, of all processes."""
    samples = data_batch.get('data_samples') or [] if isinstance(data_batch, dict) else []
    images = [str(getattr(sample, 'img_path', '?')) for sample in samples]
    found = all_gather_object((bad, images))
    guilty = [each for each in found if each[0]] or found
    terms = [term for terms, _ in guilty for term in terms] or ['a gradient is not finite']
    names = [name for _, names in guilty for name in names]
    return f'{", ".join(terms)} (images: {", ".join(names)})'
