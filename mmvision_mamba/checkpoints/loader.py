"""How MMEngine opens checkpoints after :func:`install`: by published name too, and safely.

MMEngine unpickles what torch's safe reader refuses, with no more than a warning.
"""

from pathlib import Path
from typing import BinaryIO

import torch
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader

from ..state_dicts import find_state_dict
from .download import locate
from .published_files import is_published
from .published_files.reader_config import meta_for_inferencers
from .reading import read_checkpoint, trusting


def install() -> None:
    """Let MMEngine, and so mmdet and mmseg, read every checkpoint through this package.

    It holds for all users of MMEngine in the process, and for all schemes: paths, URLs and hub repo
    ids by :func:`load_from_name_path_or_url`; those of MMEngine's that look up where a file is
    (``torchvision://``, ``open-mmlab://``, ``s3://`` and the like) still do, and it is read here.
    Importing ``mmvision_mamba``, as a config's ``custom_imports`` does, calls it; a second call
    changes nothing.
    """
    CheckpointLoader.register_scheme(
        ['', 'http://', 'https://'], load_from_name_path_or_url, force=True
    )
    # Private: by these two MMEngine's other schemes read, last looked at in 0.10.12.
    mmengine_checkpoint.load_from_http = load_from_name_path_or_url
    mmengine_checkpoint._safe_torch_load = _load_file


def load_from_name_path_or_url(
    filename: str, map_location: str | torch.device | None = None
) -> dict:
    """Read a published name, a path, a URL or a hub repo id.

    Returns: the checkpoint, with its weights under ``state_dict`` whatever envelope they came in;
        of a published file with its labels and config too, for the inferencers.

    Raises:
        InputError: See :func:`mmvision_mamba.checkpoints.download.locate` and
            :func:`mmvision_mamba.checkpoints.read_checkpoint`.
    """
    path = locate(filename)
    checkpoint = _load_file(path, map_location)
    if is_published(path):
        checkpoint['meta'].update(meta_for_inferencers(path))
    return checkpoint


def _load_file(file: str | Path | BinaryIO, map_location: str | torch.device | None = None) -> dict:
    checkpoint = read_checkpoint(file, map_location=map_location)
    weights = find_state_dict(checkpoint)
    if weights is not None and 'state_dict' not in checkpoint and 'model' not in checkpoint:
        checkpoint = {}
    if weights is not None:
        checkpoint['state_dict'] = weights
        checkpoint.setdefault('meta', {})  # mmseg asks for it
    if not trusting():
        _drop_programs(checkpoint)
    return checkpoint


def _drop_programs(checkpoint: dict) -> None:
    """Take out the config's text, a program that MMEngine's inferencers, or resuming, would run."""
    hub = checkpoint.get('message_hub')
    runtime_info = hub.get('runtime_info') if isinstance(hub, dict) else None
    for holder in (checkpoint.get('meta'), runtime_info):
        if isinstance(holder, dict):
            holder.pop('cfg', None)
            holder.pop('config', None)
