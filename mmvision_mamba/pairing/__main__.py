"""Print, or write, a config with another backbone: a few lines over the config it is made of.

The result needs nothing but this package's import, which it states, and may be edited further.
"""

import argparse
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path

from ..config import read_config_file
from ..errors import InputError
from . import backbone_names, pair
from .overrides import as_config_file


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog='python -m mmvision_mamba.pairing', description=__doc__)
    parser.add_argument('config', help='config file, mmdet::PATH or mmseg::PATH')
    parser.add_argument('backbone', help=f'one of {", ".join(backbone_names())}')
    parser.add_argument('--out', type=Path, metavar='FILE', help='write it there (default: print)')
    args = parser.parse_args(arguments)
    try:
        base = read_config_file(args.config)
        with redirect_stdout(sys.stderr):  # what is said of it is no part of the config
            cfg = pair(base, args.backbone)
        folder = Path() if args.out is None else args.out.parent
        title = f'{Path(args.config).stem} on {args.backbone}.'
        text = as_config_file(cfg, base, args.config, folder, title)
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
