"""This process's number among those of a run, before they are connected and torch knows it."""

import os

# Of each launcher, as mmengine.dist.init_dist reads them.
_VARIABLES = dict(pytorch='RANK', slurm='SLURM_PROCID', mpi='OMPI_COMM_WORLD_RANK')


def rank_from_environment(launcher: str | None = None) -> int:
    """The number that the launcher gave this process, from 0 on.

    Args:
        launcher: none (then 0), pytorch, slurm or mpi; None where it is not known yet: whichever
            has left a number.
    """
    if launcher == 'none':
        return 0
    names = _VARIABLES.values() if launcher is None else (_VARIABLES[launcher],)
    given = (os.environ.get(name) for name in names)
    return int(next(filter(None, given), 0))
