"""Look at data sets: ``check`` whether they are sound, ``info`` on what a folder of yours holds.

``mmvision data`` or ``python -m mmvision_mamba.datasets``.
"""

import argparse

from ..cli import run
from .checking.__main__ import add_check
from .own.__main__ import add_info


def main(
    arguments: list[str] | None = None, prog: str = 'python -m mmvision_mamba.datasets'
) -> None:
    parser = argparse.ArgumentParser(prog=prog, description='Look at data sets.')
    commands = parser.add_subparsers(required=True)
    add_check(commands)
    add_info(commands)
    args = parser.parse_args(arguments)
    args.run(args)


if __name__ == '__main__':
    run(main)
