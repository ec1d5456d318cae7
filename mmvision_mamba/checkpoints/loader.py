"""How MMEngine opens checkpoints once this package is imported: by name too, and safely.

MMEngine unpickles what torch's safe reader refuses, with no more than a warning. Its registry of
loaders is open, so those are replaced here, for every user of MMEngine in the process.
"""

import functools
import os
from collections.abc import Callable

from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader

from ..state_dicts import find_state_dict
from .download import locate
from .published_file import is_published
from .reader_config import meta_for_inferencers
from .safe_load import read_checkpoint, trusting

# By which torch reads weights only, even for a caller that asks for more.
_WEIGHTS_ONLY = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'


@CheckpointLoader.register_scheme(['', 'http://', 'https://'], force=True)
def load_from_name_path_or_url(filename: str, map_location=None) -> dict:
    """Read a published name, a path, a URL or a hub repo id.

    Returns: the checkpoint, with its weights under ``state_dict`` whatever envelope they came in;
        of a published file with its labels and config too, for the inferencers.

    Raises:
        InputError: See :func:`mmvision_mamba.checkpoints.download.locate` and
            :func:`mmvision_mamba.checkpoints.read_checkpoint`.
    """
    path = locate(filename)
    checkpoint = read_checkpoint(path, map_location=map_location)
    weights = find_state_dict(checkpoint)
    if weights is not None and 'state_dict' not in checkpoint and 'model' not in checkpoint:
        checkpoint = {}
    if weights is not None:
        checkpoint['state_dict'] = weights
        checkpoint.setdefault('meta', {})  # mmseg asks for it
    if not trusting():
        _drop_programs(checkpoint)
    if is_published(path):
        checkpoint['meta'].update(meta_for_inferencers(path))
    return checkpoint


def _drop_programs(checkpoint: dict) -> None:
    """Take out the config's text, a program that MMEngine's inferencers, or resuming, would run."""
    hub = checkpoint.get('message_hub')
    runtime_info = hub.get('runtime_info') if isinstance(hub, dict) else None
    for holder in (checkpoint.get('meta'), runtime_info):
        if isinstance(holder, dict):
            holder.pop('cfg', None)
            holder.pop('config', None)


def _weights_only(load: Callable) -> Callable:
    """MMEngine's own loader of a scheme, without its fallback."""

    @functools.wraps(load)
    def load_weights_only(*args, **kwargs):
        if trusting():
            return load(*args, **kwargs)
        before = os.environ.get(_WEIGHTS_ONLY)
        os.environ[_WEIGHTS_ONLY] = '1'
        try:
            return load(*args, **kwargs)
        finally:
            del os.environ[_WEIGHTS_ONLY]
            if before is not None:
                os.environ[_WEIGHTS_ONLY] = before

    return load_weights_only


for _schemes, _load in {
    ('pavi://',): mmengine_checkpoint.load_from_pavi,
    (r'(\S+\:)?s3://', r'(\S+\:)?petrel://'): mmengine_checkpoint.load_from_ceph,
    ('modelzoo://', 'torchvision://'): mmengine_checkpoint.load_from_torchvision,
    ('open-mmlab://', 'openmmlab://'): mmengine_checkpoint.load_from_openmmlab,
    ('mmcls://',): mmengine_checkpoint.load_from_mmcls,
}.items():
    CheckpointLoader.register_scheme(_schemes, _weights_only(_load), force=True)
