"""Print, or write, a config with another backbone: a few lines over the config it is made of.

The result needs nothing but this package's import, which it states, and may be edited further.
"""

import argparse
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path

from ..config import config_name, find_config, read_config_file
from ..errors import InputError
from . import backbone_names, pair
from .overrides import as_config_file


def main(
    arguments: list[str] | None = None, prog: str = 'python -m mmvision_mamba.pairing'
) -> None:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument('config', help='config file or name, mmdet::PATH or mmseg::PATH')
    parser.add_argument('backbone', help=f'one of {", ".join(backbone_names())}')
    parser.add_argument('--out', type=Path, metavar='FILE', help='write it there (default: print)')
    args = parser.parse_args(arguments)
    try:
        path = args.config if '::' in args.config else str(find_config(args.config))
        base = read_config_file(path)
        with redirect_stdout(sys.stderr):  # what is said of it is no part of the config
            cfg = pair(base, args.backbone)
        folder = Path() if args.out is None else args.out.parent
        title = f'{config_name(path)} on {args.backbone}.'
        text = as_config_file(cfg, base, path, folder, title)
        if args.out is None:
            print(text, end='')
            return
        if args.out.suffix != '.py':
            raise InputError(f'--out {args.out}: a config is a .py file')
        if args.out.exists():
            raise InputError(f'--out {args.out} exists already')
        args.out.write_text(text)
    except InputError as error:
        sys.exit(f'error: {error}')
    except OSError as error:
        sys.exit(f'error: {args.out}: {os.strerror(error.errno)}')


if __name__ == '__main__':
    main()
