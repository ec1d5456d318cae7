"""Data sets on the command line: ``python -m mmvision_mamba.datasets check`` and ``info``."""

import argparse

from ..cli import run
from .checking.__main__ import add_check
from .own.__main__ import add_info


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog='python -m mmvision_mamba.datasets', description='Look at data sets.'
    )
    commands = parser.add_subparsers(required=True)
    add_check(commands)
    add_info(commands)
    args = parser.parse_args(arguments)
    args.run(args)


if __name__ == '__main__':
    run(main)
