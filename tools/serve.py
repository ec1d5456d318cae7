"""Serve models on a web page, and to programs over HTTP."""

import argparse
import re
import signal
import threading
from pathlib import Path

from start_up import SIGNALS, end_at_once

ROOT = Path(__file__).resolve().parents[1]
LOCAL = ('127.0.0.1', 'localhost', '::1')
UNITS = {'': 1, 'k': 10**3, 'm': 10**6, 'g': 10**9}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'models',
        nargs='*',
        metavar='MODEL',
        help='a file of publish_model.py, a name of published weights, the work dir of a training, '
        "or CONFIG=WEIGHTS (default: the demo's, if make demo has trained them)",
    )
    parser.add_argument(
        '--host',
        default=LOCAL[0],
        help='address to listen at; 0.0.0.0 is all of this machine (default: %(default)s, which '
        'only this machine reaches)',
    )
    parser.add_argument(
        '--port', type=int, help='port to listen at (default: the first free one from 7860 on)'
    )
    parser.add_argument(
        '--root-path', metavar='/PATH', help='where a reverse proxy has the page (default: /)'
    )
    parser.add_argument(
        '--device', default='auto', help='device to compute on, such as cuda:1 (default: auto)'
    )
    parser.add_argument(
        '--max-bytes',
        type=amount,
        default='20M',
        help='of an uploaded file, such as 500k or 20M (default: %(default)s)',
    )
    parser.add_argument(
        '--max-pixels',
        type=amount,
        default='25M',
        help='of an image, width times height (default: %(default)s)',
    )
    parser.add_argument(
        '--queue',
        type=amount,
        default='20',
        metavar='N',
        help='visitors that may wait for their turn (default: %(default)s)',
    )
    return parser.parse_args()


def amount(text: str) -> int:
    """A whole number from 1 on, in thousands, millions or billions where k, M or G follows."""
    match = re.fullmatch(r'(\d{1,12})([kmg]?)', text.strip(), re.IGNORECASE)
    if match is None or not int(match[1]):
        raise argparse.ArgumentTypeError(f'{text} is not a number such as 20, 500k or 20M')
    return int(match[1]) * UNITS[match[2].lower()]


def main(args: argparse.Namespace) -> None:
    from mmvision_mamba.errors import InputError
    from mmvision_mamba.serve.limits import Limits
    from mmvision_mamba.serve.models import demo_models, load_models

    try:
        from mmvision_mamba.serve.server import served
    except ModuleNotFoundError as error:
        if error.name != 'gradio':
            raise
        raise InputError('the page needs Gradio: pip install gradio') from error

    limits = Limits(upload_bytes=args.max_bytes, pixels=args.max_pixels, queue=args.queue)
    sources = args.models or demo_models(ROOT / 'work_dirs' / 'demo')
    print(f'Loading {", ".join(sources)} ...', flush=True)
    models = load_models(sources, args.device)
    where = dict(host=args.host, port=args.port, root_path=args.root_path)
    with served(models, **where, limits=limits) as page:
        if args.host not in LOCAL:
            print(
                f'Everybody who reaches {args.host} can use this page: '
                'it asks for no password and is not encrypted.'
            )
        print(f'Serving {", ".join(models)} on {page.url} until Ctrl-C', flush=True)
        wait_for_signal()
    print('The page is closed.')


def wait_for_signal() -> None:
    """Return when this process is asked to stop; a second time ends it at once."""
    asked = threading.Event()

    def stop(number: int, _) -> None:
        asked.set()
        signal.signal(number, signal.SIG_DFL)

    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, stop)
    asked.wait()


if __name__ == '__main__':
    arguments = parse_args()  # before the imports, which take seconds
    end_at_once('the page was not served yet', status=1)
    from mmvision_mamba.cli import run

    run(main, arguments)
