"""Whether a training starts anew or goes on, and from which checkpoint: decided once, for all."""

import os
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import init_dist, is_distributed
from mmengine.logging import print_log
from mmengine.utils.dl_utils import set_multi_processing

from ..errors import InputError
from .main_process import from_main_process
from .resume import check_named, checkpoint_to_resume


def set_starting_point(cfg: Config, resume: str | None) -> None:
    """Decide between a new run, which may not overwrite another, and going on with one.

    The main process decides for all: others might see other files, and would read gigabytes each.
    Changes ``cfg``: its ``resume`` and ``load_from``. Joins the processes if they are not yet.

    Args:
        cfg: The config of a run, with its ``launcher`` and ``work_dir``.
        resume: A checkpoint; ``auto`` for the newest whole one in the work dir; None for a new run.

    Raises:
        InputError: In every process: the work dir holds a run, which a new one would overwrite, or
            no whole checkpoint; or the one that is named cannot be believed.
    """
    if cfg.launcher != 'none' and not is_distributed():
        # As the runner would, which keeps a group that it finds.
        environment = cfg.get('env_cfg', {})
        set_multi_processing(**environment.get('mp_cfg', {}), distributed=True)
        init_dist(cfg.launcher, **environment.get('dist_cfg', {}))
    cfg.resume, cfg.load_from = from_main_process(lambda: _starting_point(cfg, resume))


def _starting_point(cfg: Config, resume: str | None) -> tuple[bool, str | None]:
    """Whether to resume, and the checkpoint to start from, if any."""
    if resume is None and cfg.get('resume') and not cfg.get('load_from'):
        resume = 'auto'
    # A worker died, and torchrun started all again with their first arguments.
    restarted = int(os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)) > 0
    # A checkpoint that is named needs none of the work dir's, which are read whole to be believed.
    look = restarted or resume in (None, 'auto')
    newest = checkpoint_to_resume(cfg.work_dir) if look else None
    if resume == 'auto' or (restarted and newest):
        if newest is None:
            print_log(f'--resume: no run has begun in {cfg.work_dir}, starting one.', 'current')
        resume = newest
    elif resume is not None:
        check_named(resume)
    elif newest and not cfg.get('resume'):
        raise InputError(
            f'{cfg.work_dir} holds a run already (up to {Path(newest).name}): go on with it by '
            '--resume, or start a new one in another --work-dir'
        )
    goes_on = resume is not None or bool(cfg.get('resume') and cfg.get('load_from'))
    return goes_on, resume or cfg.get('load_from')
