"""Files of a result, made when they are asked for: none is written to a disk."""

from pathlib import PurePath
from urllib.parse import quote, urlencode

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ..inference.results import SegmentationResult
from .analyses import Analyses, Analysis
from .uploads import Refused
from .views import Look, coco_json, image_png, label_map_png, look_of

_MAKERS = {'image.png': image_png, 'coco.json': coco_json, 'label_map.png': label_map_png}
_TYPES = {'.png': 'image/png', '.json': 'application/json'}


def files_of(analysis: Analysis) -> list[str]:
    """Names of the files that there are of a result: label maps are of segmentors."""
    segments = isinstance(analysis.result, SegmentationResult)
    return [file for file in _MAKERS if segments or file != 'label_map.png']


def link(token: str, file: str, look: Look) -> str:
    """Where a file of a result is, from the page's own address on.

    Args:
        token: Of the analysis.
        file: ``image.png``, ``coco.json``, or of a segmentor ``label_map.png``.
        look: How it is drawn, and which scores are enough.
    """
    options = urlencode({key: f'{value:g}' for key, value in vars(look).items()})
    return f'results/{token}/{file}?{options}'


def route(analyses: Analyses) -> Route:
    """The route that answers at those links."""
    at_once = CapacityLimiter(2)  # as an image takes memory while it is drawn

    async def download(request: Request) -> Response:
        file = request.path_params['file']
        analysis = analyses.get(request.path_params['token'])
        if analysis is None:
            return PlainTextResponse('This result was let go: send the image again', 404)
        try:
            given = request.query_params
            look = look_of([given.get(name, usual) for name, usual in vars(Look()).items()])
        except Refused as error:
            return PlainTextResponse(str(error), 400)
        if file not in files_of(analysis):
            return PlainTextResponse(f'This result has no {file}', 404)
        made = await to_thread.run_sync(_MAKERS[file], analysis, look, limiter=at_once)
        name = quote(f'{PurePath(analysis.name).stem}-{file}', safe='')
        headers = {
            'Content-Disposition': f"attachment; filename*=UTF-8''{name}",
            'Cache-Control': 'no-store',
        }
        return Response(made, media_type=_TYPES[PurePath(file).suffix], headers=headers)

    return Route('/results/{token}/{file}', download, methods=['GET'])
