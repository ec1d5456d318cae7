"""The page as a server, for as long as it is wanted."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import gradio as gr
from starlette.middleware import Middleware

from ..datasets import draw_shapes
from ..errors import InputError
from ..inference.predictor import Predictor
from .downloads import route
from .gate import Gate
from .limits import Limits
from .page import CSS, Page
from .store import Store

_EXAMPLES = 6
_SYSTEM_FONTS = ['system-ui', 'sans-serif']  # Gradio's theme would ask a server for some


class Served(NamedTuple):
    """A page that answers.

    Attributes:
        url: Where, as seen from this machine.
        page: What is behind it.
    """

    url: str
    page: Page


@contextmanager
def served(
    models: dict[str, Predictor],
    *,
    host: str = '127.0.0.1',
    port: int | None = None,
    root_path: str | None = None,
    limits: Limits | None = None,
) -> Iterator[Served]:
    """Serve the page of ``models`` within a ``with``.

    Args:
        models: By the names that visitors choose from; one at least.
        host: Address to listen at.
        port: To listen at; the first free one from 7860 on, if None.
        root_path: Under which a reverse proxy has the page, such as ``/vision``.
        limits: What a visitor may take.

    Raises:
        InputError: The address cannot be listened at.
    """
    limits = limits or Limits()
    with TemporaryDirectory(prefix='mmvision-page-') as folder, _gradio_environment(Path(folder)):
        uploads = Path(folder, 'uploads')
        store = Store(uploads, limits.stored_bytes)
        page = Page(models, limits, uploads)
        blocks = page.build(_draw_examples(Path(folder, 'examples')))
        store.keep_what_is_there()
        try:
            _, url, _ = blocks.launch(
                server_name=host,
                server_port=port,
                root_path=root_path or '',
                app_kwargs=dict(
                    middleware=[Middleware(Gate, limits=limits, store=store)],
                    routes=[route(page.analyses)],
                    docs_url=None,
                    redoc_url=None,
                    openapi_url=None,
                ),
                max_file_size=limits.upload_bytes,
                state_session_capacity=limits.sessions,
                theme=gr.themes.Default(font=_SYSTEM_FONTS, font_mono=['monospace']),
                css=CSS,
                footer_links=['api'],
                # Each of these is on, or looked up in the environment, where it is not said.
                prevent_thread_lock=True,
                quiet=True,
                share=False,
                inbrowser=False,
                ssr_mode=False,
                num_workers=0,
                pwa=False,
                mcp_server=False,
                enable_monitoring=False,
                run_history=False,
            )
        except OSError as error:
            where = port or '7860 to 7959'
            raise InputError(f'cannot listen at {host}, port {where}: {error}') from error
        try:
            yield Served(url, page)
        finally:
            blocks.close(verbose=False)


def _draw_examples(folder: Path) -> Sequence[Path]:
    """Held-out images of the embedded data set."""
    drawn = draw_shapes(folder / 'shapes', num_train=0, num_val=_EXAMPLES)
    return sorted((drawn / 'coco' / 'val2017').glob('*.jpg'))


@contextmanager
def _gradio_environment(folder: Path) -> Iterator[None]:
    """Settings that Gradio takes from the environment alone."""
    settings = {
        'GRADIO_ANALYTICS_ENABLED': 'False',
        'GRADIO_TEMP_DIR': str(folder / 'uploads'),
        'GRADIO_EXAMPLES_CACHE': str(folder / 'cached'),
        'GRADIO_ALLOWED_PATHS': '',
    }
    former = {key: os.environ.get(key) for key in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for key, value in former.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value
