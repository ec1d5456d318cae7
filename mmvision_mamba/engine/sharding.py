"""Training with a model sharded over its processes, for models that no single card holds.

MMEngine's own FSDPStrategy is on torch's first FSDP, under which MMEngine clips each process's
gradients by a norm of their own, and cannot resume: torch has since changed the function's
arguments. This one is on ``torch.distributed.fsdp.fully_shard``: parameters stay where they were,
under their names, as DTensors of their full shape.
"""

import torch
from mmengine._strategy import DDPStrategy
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.registry import RUNNERS, STRATEGIES
from mmengine.runner import FlexibleRunner
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from ..backbones.mambaout import GatedConvBlock
from ..backbones.mambavision import Block, ConvBlock
from ..checkpoints.main_process import ending_together
from ..errors import InputError
from .console import ConsoleLogger
from .deaf_workers import DeafWorkers

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


def shard_training(cfg: Config) -> None:
    """Have the config's model trained by :class:`FullyShardedStrategy`. Changes ``cfg``.

    Raises:
        InputError: There are no processes to shard over, or the config has what cannot be sharded.
    """
    if cfg.launcher == 'none':
        raise InputError(
            '--fsdp spreads the model over several processes, and there is one: start them with '
            'tools/dist_train.sh or tools/slurm_train.sh'
        )
    hooks = [*cfg.get('default_hooks', {}).values(), *(cfg.get('custom_hooks') or [])]
    if any(hook.get('type') == 'EMAHook' for hook in hooks if isinstance(hook, dict)):
        raise InputError('--fsdp: EMAHook copies the model, which cannot be done to a part of it')
    if cfg.model.get('test_cfg', {}).get('mode') == 'slide':
        raise InputError(
            '--fsdp: model.test_cfg.mode is slide, where processes would wait for each other '
            'because their images have different numbers of windows; validate by mode=whole'
        )
    cfg.runner_type = 'ShardedRunner'
    cfg.strategy = dict(type='FullyShardedStrategy')


def backbone_blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks of a model's backbone, each of which is gathered for itself when it runs."""
    kinds = (Block, ConvBlock, GatedConvBlock)
    return [module for module in model.modules() if isinstance(module, kinds)]


@RUNNERS.register_module()
class ShardedRunner(DeafWorkers, FlexibleRunner):
    """FlexibleRunner whose checkpoints say how far training has come.

    MMEngine's own adds one to the epoch or iteration, also where CheckpointHook saves once more
    after validation and has counted it already: resuming would leave one out.
    """

    def save_checkpoint(self, *args, meta: dict, **kwargs) -> None:
        self._progress = dict(meta)
        super().save_checkpoint(*args, meta=meta, **kwargs)

    def call_hook(self, fn_name: str, **kwargs) -> None:
        if fn_name == 'before_save_checkpoint':
            kwargs['checkpoint']['meta'].update(self._progress)
        super().call_hook(fn_name, **kwargs)


@STRATEGIES.register_module()
class FullyShardedStrategy(ConsoleLogger, DDPStrategy):
    """Parameters, gradients and optimizer state, each process keeping its part of every tensor.

    A block of the backbone has all of its parameters while it runs; heads and what lies between
    the blocks do from the forward pass to the end of the backward pass, because mmdet and mmseg
    call heads otherwise than by ``forward``.

    A checkpoint is one file with whole tensors, the same as of a run that is not sharded: it can
    be tested, published, and resumed with or without sharding, on any number of processes.
    """

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        device = torch.device(get_device())
        model = self.convert_model(model.to(device))
        mesh = init_device_mesh(device.type, (self.world_size,))
        for block in backbone_blocks(model):
            fully_shard(block, mesh=mesh)
        return fully_shard(model, mesh=mesh)

    def save_checkpoint(self, filename: str, *, save_optimizer: bool = True, **kwargs) -> None:
        """One file, as of :meth:`DDPStrategy.save_checkpoint`; all processes have to call it."""
        with ending_together():
            if is_main_process():
                super().save_checkpoint(filename, save_optimizer=save_optimizer, **kwargs)
            else:  # it has no file to write, but parts to give
                self.model_state_dict()
                if save_optimizer:
                    self.optim_state_dict()

    def model_state_dict(self) -> dict:
        """Whole tensors in memory of the CPU, in the main process; nothing in the others."""
        return get_model_state_dict(self.model, options=_WHOLE)

    def optim_state_dict(self) -> dict:
        """As :meth:`model_state_dict`, and as an optimizer of a whole model has it.

        torch names parameters where its optimizers number them.
        """
        own = self.optim_wrapper.state_dict()
        if not own['state']:
            return own  # torch would take a step to have some
        named = get_optimizer_state_dict(self.model, self.optim_wrapper.optimizer, options=_WHOLE)
        if not is_main_process():
            return {}
        names = [name for group in named['param_groups'] for name in group['params']]
        numbers = [number for group in own['param_groups'] for number in group['params']]
        state = {
            number: named['state'][name]
            for number, name in zip(numbers, names, strict=True)
            if name in named['state']
        }
        return own | dict(state=state)  # with what MMEngine's wrapper adds

    def load_checkpoint(self, filename: str, *, map_location: str = 'cpu', **kwargs) -> dict:
        """As :meth:`DDPStrategy.load_checkpoint`, into memory of the CPU whatever is asked for.

        The caller's choice when resuming is the device, which need not hold the whole state.
        """
        return super().load_checkpoint(filename, map_location='cpu', **kwargs)

    def load_model_state_dict(self, state_dict: dict, **kwargs) -> None:
        own = self.model.state_dict()
        parts = {}
        for name, value in state_dict.items():
            name = name.removeprefix('module.')
            parts[name] = _part(value, own[name]) if name in own else value
        super().load_model_state_dict(parts, **kwargs)

    def load_optim_state_dict(self, state_dict: dict) -> None:
        groups = self.optim_wrapper.optimizer.param_groups
        parameters = [parameter for group in groups for parameter in group['params']]
        state = {
            index: {key: _part(value, parameters[index]) for key, value in values.items()}
            for index, values in state_dict['state'].items()
        }
        super().load_optim_state_dict(dict(state_dict, state=state))


def _part(value: object, like: Tensor) -> object:
    """This process's part of a tensor that belongs to ``like``; what is of another shape, whole."""
    if not isinstance(like, DTensor) or getattr(value, 'shape', None) != like.shape:
        return value
    value = value.to(like.device)
    # Every process has the whole, so that none has to send it.
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)
