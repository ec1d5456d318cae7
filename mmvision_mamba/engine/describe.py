"""A run in a few lines: which model, on what data and device, how long, from which weights."""

from collections.abc import Iterable
from pathlib import Path

import torch
from mmengine.dist import get_world_size
from mmengine.model import is_model_wrapper
from mmengine.optim import AmpOptimWrapper
from torch import nn
from torch.utils.data import DataLoader

from ..checkpoints.published import PUBLISHED


def describe_run(runner, mode: str, log_file: str | None) -> list[str]:
    """Lines to print before the first iteration.

    Args:
        runner: MMEngine's, with its model and loops built and its checkpoint loaded.
        mode: ``'train'`` or ``'test'``.
        log_file: Where the rest of the messages are; None where there is none.
    """
    training = mode == 'train'
    facts = {
        'Training' if training else 'Testing': f'{_name(runner)}: {_model(runner.model)}',
        'data': _data(getattr(runner, f'{mode}_dataloader')),
    }
    if training:
        if runner.val_loop is not None:
            facts['validation'] = _data(runner.val_dataloader)
        facts['length'] = _length(runner)
        facts['optimizer'] = _optimizer(runner.optim_wrapper)
    facts['device'] = _device()
    facts['weights'] = _weights(runner, training)
    facts['seed'] = str(runner.seed)
    facts['work dir'] = runner.work_dir
    if log_file:
        facts['log'] = f'{log_file} (config, environment and all messages; --verbose shows them)'
    return [f'{name:<11}{fact}' for name, fact in facts.items()]


def _name(runner) -> str:
    return Path(runner.cfg.filename or runner.experiment_name).stem


def _model(model: nn.Module) -> str:
    while is_model_wrapper(model) or hasattr(model, 'module'):
        model = model.module
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    backbone = getattr(model, 'backbone', None)
    on = f' on {type(backbone).__name__}' if backbone is not None else ''
    return f'{type(model).__name__}{on}, {millions:.1f} million parameters'


def _data(loader: DataLoader) -> str:
    dataset, processes = loader.dataset, get_world_size()
    inner = getattr(dataset, 'dataset', dataset)
    size = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', 1)
    folder = getattr(inner, 'data_root', None)
    classes = (getattr(inner, 'metainfo', None) or {}).get('classes') or ()
    return (
        f'{len(dataset):,} images of {len(classes)} classes ({type(inner).__name__}'
        f'{f", {folder}" if folder else ""}), batches of {size}'
        + (f' in each of {processes} processes' if processes > 1 else '')
    )


def _length(runner) -> str:
    done = f', {runner.iter:,} of them done' if runner.iter else ''
    epochs = ''
    if runner.log_processor.by_epoch:
        epochs = f'{runner.max_epochs} epoch{"s" if runner.max_epochs > 1 else ""}, '
    return f'{epochs}{runner.max_iters:,} iterations{done}'


def _optimizer(wrapper) -> str:
    groups = wrapper.optimizer.param_groups
    mixed = isinstance(wrapper, AmpOptimWrapper)
    precision = f'mixed precision ({wrapper.cast_dtype or "float16"})' if mixed else 'float32'
    rate = _range(group.get('initial_lr', group['lr']) for group in groups)
    decay = _range(group.get('weight_decay', 0) for group in groups)
    kind = type(wrapper.optimizer).__name__
    return f'{kind}, learning rate {rate}, weight decay {decay}, {precision}'


def _range(values: Iterable[float]) -> str:
    values = set(values)
    low, high = min(values), max(values)
    return f'{high:g}' if low == high else f'{low:g} to {high:g}'


def _device() -> str:
    processes = get_world_size()
    if torch.cuda.is_available():
        return f'{processes} x {torch.cuda.get_device_name()}'
    threads = f'{torch.get_num_threads()} threads'
    return f'CPU, {threads}' if processes == 1 else f'CPU, {processes} processes of {threads}'


def _weights(runner, training: bool) -> str:
    path = runner.cfg.get('load_from')
    if path and not training:
        return path
    if path:
        return f'{"resumed" if runner.cfg.get("resume") else "fine-tuned"} from {path}'
    init = runner.cfg.model.get('backbone', {}).get('init_cfg') or {}
    pretrained = init.get('checkpoint') if isinstance(init, dict) else None
    if not pretrained:
        return 'at random'
    entry = PUBLISHED.get(pretrained)
    licence = f' (licence {entry.licence})' if entry is not None else ''
    return f'backbone from {pretrained}{licence}, the rest at random'
