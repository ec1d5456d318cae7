"""The page itself, of Gradio's components, and the endpoint for programs."""

import html
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import gradio as gr
import numpy as np
from PIL import Image

from ..inference.predictor import Predictor
from . import views
from .analyses import Analyses, Analysis
from .downloads import files_of, link
from .limits import Limits
from .uploads import Refused, megabytes, read_upload, uploaded_file
from .views import Look, look_of

TITLE = 'MambaVision and MambaOut'
_COMPUTING = dict(concurrency_id='computing', concurrency_limit=1)  # one image at a time
_DRAWING = dict(concurrency_id='drawing', concurrency_limit=2)
_DISPLAYED = 1600  # pixels of the longer side of what is sent to be looked at
_EMPTY = 'Drop an image, take one by the webcam, or choose an example.'
_DETECTORS = ('score', 'boxes')
FILES = {
    'image.png': 'Download image',
    'coco.json': 'Download COCO JSON',
    'label_map.png': 'Download label map',
}
CSS = """
#status { padding: 0.5rem 0; }
#status .html-container { padding: 0; }
#status p { font-size: var(--text-lg); margin: 0; }
#status .refused { color: var(--error-text-color); font-weight: 600; }
.hint p { font-size: var(--text-sm); opacity: 0.8; }
#model input { padding-right: 2rem; text-overflow: ellipsis; }
#drawn { height: 480px; }
@media (max-width: 640px) { #drawn { height: 100vw; } }
footer .divider { display: none; }
"""


class Page:
    """Models behind a page.

    Args:
        models: By the names that visitors choose from.
        limits: What a visitor may take.
        uploads: Folder in which Gradio keeps uploaded files.
    """

    def __init__(self, models: dict[str, Predictor], limits: Limits, uploads: Path) -> None:
        self.models = models
        self.limits = limits
        self.uploads = uploads
        self.analyses = Analyses(limits.cached_bytes)

    def build(self, examples: Sequence[Path] = ()) -> gr.Blocks:
        """The page, with example images to choose from."""
        first = next(iter(self.models))
        with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 3600)) as blocks:
            gr.Markdown(f'# {TITLE}', elem_classes='title')
            token = gr.State(delete_callback=self.analyses.let_go)
            with gr.Row():
                with gr.Column(min_width=320):
                    model = gr.Dropdown(
                        list(self.models), value=first, label='Model', elem_id='model'
                    )
                    image = gr.Image(
                        label='Image',
                        type='filepath',
                        sources=['upload', 'webcam', 'clipboard'],
                        height=320,
                        alt_text='Your image',
                        buttons=['fullscreen'],
                        elem_id='image',
                    )
                    gr.Markdown(
                        f'At most {megabytes(self.limits.upload_bytes)} and '
                        f'{self.limits.pixels / 1e6:.3g} million pixels.',
                        elem_classes='hint',
                    )
                    if examples:
                        gr.Examples([str(path) for path in examples], image, label='Examples')
                with gr.Column(scale=2, min_width=320):
                    status = gr.HTML(_status(_EMPTY), padding=False, elem_id='status')
                    drawn = gr.Image(
                        label='Result',
                        interactive=False,
                        alt_text='The image with what was found',
                        buttons=['fullscreen'],
                        elem_id='drawn',
                    )
                    look = self._controls(first)
                    files = self._files()
                    table = gr.Dataframe(
                        label='Found', interactive=False, visible=False, elem_id='table'
                    )
            results = [status, drawn, table, *files]
            gr.on(
                [image.change, model.change],
                self.analyse,
                [image, model, token, *look],
                [token, *results],
                preprocess=False,  # which would decode images of any size
                show_progress_on=[drawn],
                api_visibility='private',
                **_COMPUTING,
            )
            model.change(
                self.visible_controls,
                model,
                look,
                show_progress='hidden',
                api_visibility='private',
                **_DRAWING,
            )
            gr.on(
                [control.change for control in look],
                self.draw_again,
                [token, *look],
                results,
                preprocess=False,
                show_progress='hidden',
                trigger_mode='always_last',
                api_visibility='private',
                **_DRAWING,
            )
            gr.api(self.predict, api_name='predict', **_COMPUTING)
        blocks.queue(max_size=self.limits.queue, api_open=False)
        return blocks

    def _controls(self, model: str) -> list[gr.components.Component]:
        """In the order of :class:`.views.Look`'s fields."""
        look, detects = Look(), self._detects(model)
        with gr.Row(elem_id='sliders'):
            numbers = [
                gr.Slider(
                    *(0, 1, look.score),
                    step=0.01,
                    label='Score',
                    visible=detects,
                    elem_id='score',
                ),
                gr.Slider(0, 1, look.opacity, step=0.05, label='Opacity', elem_id='opacity'),
            ]
        with gr.Row(elem_id='toggles'):
            switches = [
                gr.Checkbox(look.boxes, label='Boxes', visible=detects, elem_id='boxes'),
                gr.Checkbox(look.masks, label='Masks', elem_id='masks'),
                gr.Checkbox(look.labels, label='Labels', elem_id='labels'),
            ]
        return [*numbers, *switches]

    @staticmethod
    def _files() -> list[gr.Button]:
        with gr.Row(elem_id='files'):
            return [
                gr.Button(text, size='sm', visible=False, elem_id=file.replace('.', '-'))
                for file, text in FILES.items()
            ]

    def visible_controls(self, model: str) -> list[dict]:
        """Updates of the controls, of which some are for detectors alone."""
        detects = self._detects(model)
        return [gr.update(visible=detects or name not in _DETECTORS) for name in vars(Look())]

    def analyse(self, image: object, model: object, token: str | None, *look: object) -> list:
        """Compute a result for a visitor, whose former one is let go; all but the token is theirs.

        Args:
            image: Gradio's description of an uploaded file, or None.
            model: Its name.
            token: Of the former result.
            look: Values of :class:`.views.Look`.

        Returns:
            The new token, and what :meth:`_results` shows.
        """
        self.analyses.let_go(token)
        if image is None:
            return [None, *_nothing(_EMPTY)]
        try:
            analysis, chosen = self._compute(image, model), look_of(look)
        except Refused as error:
            return [None, *_nothing(str(error), refused=True)]
        token = self.analyses.keep(analysis)
        return [token, *self._results(analysis, token, chosen)]

    def draw_again(self, token: str | None, *look: object) -> list:
        """Show what was computed for a visitor in another look."""
        if token is None:
            return [gr.skip()] * (3 + len(FILES))
        analysis = self.analyses.get(token)
        if analysis is None:
            return _nothing('This result was let go to make room: send the image again.', True)
        try:
            return self._results(analysis, token, look_of(look))
        except Refused as error:
            raise _error(error) from error

    def predict(
        self, image: gr.FileData, model: str | None = None, score: float = 0.3
    ) -> dict[str, object]:
        """What a model finds in an image that was uploaded before, in COCO's format.

        Args:
            image: Gradio's description of the uploaded file.
            model: One of the page's models; the first one, if none is named.
            score: The least of what a detector finds that is returned.

        Returns:
            ``model``, ``seconds``; ``images``, ``categories`` and ``annotations`` of COCO.
        """
        model = next(iter(self.models)) if model is None else model
        try:
            look = look_of([score])
            analysis = self._compute(image, model)
        except Refused as error:
            raise _error(error) from error
        seconds = round(analysis.seconds, 3)
        return dict(model=model, seconds=seconds, **views.coco(analysis, look))

    def _detects(self, model: str) -> bool:
        return self.models[model].task == 'detection'

    def _compute(self, image: object, model: object) -> Analysis:
        if not isinstance(model, str) or model not in self.models:
            raise Refused(f'There is no such model; there are: {", ".join(self.models)}.')
        path = uploaded_file(image.get('path') if isinstance(image, dict) else image, self.uploads)
        image = read_upload(path, self.limits)
        start = time.perf_counter()
        try:
            result = self.models[model](image)
        except Exception as error:  # of another's code; the server goes on
            traceback.print_exc()
            raise Refused('The model failed on this image.') from error
        return Analysis(image, result, path.name, time.perf_counter() - start)

    @staticmethod
    def _results(analysis: Analysis, token: str, look: Look) -> list:
        """Sentence, drawn image, table, and a button for each of ``FILES``."""
        try:
            drawn = _displayed(views.draw(analysis, look))
        except Exception:  # what was found is shown without it
            traceback.print_exc()
            drawn = None
        return [
            _status(views.sentence(analysis, look)),
            drawn,
            gr.update(value=views.table(analysis, look), visible=True),
            *(
                gr.update(link=link(token, file, look), visible=file in files_of(analysis))
                for file in FILES
            ),
        ]


def _status(text: str, refused: bool = False) -> str:
    kind = 'refused' if refused else 'said'
    return f'<p role="status" class="{kind}">{html.escape(text)}</p>'


def _nothing(text: str, refused: bool = False) -> list:
    hidden = gr.update(visible=False)
    return [_status(text, refused), None, hidden, *[hidden] * len(FILES)]


def _displayed(image: np.ndarray) -> Image.Image:
    shown = Image.fromarray(image)
    shown.thumbnail((_DISPLAYED, _DISPLAYED))
    return shown


def _error(refused: Refused) -> gr.Error:
    return gr.Error(str(refused), print_exception=False)
