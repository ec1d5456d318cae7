"""Data sets on the command line: ``python -m mmvision_mamba.datasets check CONFIG``."""

from ..cli import run
from .checking.__main__ import main

if __name__ == '__main__':
    run(main)
