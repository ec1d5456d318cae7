"""The door of the server: which requests of Gradio's many pass, and how long they may be.

Gradio answers on some seventy routes; among them are ones that fetch any public address for the
asker, keep histories elsewhere, or edit the running program. What the page and its API need is
written out here, and everything else is not found.
"""

import json
import re

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .limits import Limits
from .store import Store
from .uploads import Refused, megabytes, uploaded_file

_NAME = r'[\w.-]+'
_UPLOAD = '/gradio_api/upload'
_READ = (
    r'/',
    r'/(config|theme\.css|favicon\.ico|manifest\.json)/?',
    r'/(assets|static)/.+',
    rf'/results/{_NAME}/{_NAME}',
    r'/gradio_api/(info|startup-events|theme\.css|queue/data|upload_progress)/?',
    rf'/gradio_api/heartbeat/{_NAME}',
    rf'/gradio_api/call/(v2/)?{_NAME}/{_NAME}',
    r'/gradio_api/file=/.+',  # a path: what is an address of the web has no slash there
)
_WRITE = (
    rf'{_UPLOAD}/?',
    r'/gradio_api/(queue/join|cancel)/?',
    rf'/gradio_api/(call|call/v2|run)/{_NAME}/?',
)
_ROUTES = {
    method: re.compile('|'.join(f'(?:{route})' for route in routes))
    for method, routes in (('GET', _READ), ('HEAD', _READ), ('POST', _WRITE))
}
_BODY = 1_000_000  # bytes of a request other than an upload
_ENVELOPE = 50_000  # bytes of an upload around the file
# Gradio's page has scripts in itself, and makes some from texts; other servers it needs none of.
_HEADERS = {
    'Content-Security-Policy': "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'",
    'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff',
}


class Gate:
    """ASGI middleware: refuses requests, and has files in them be uploaded ones.

    Args:
        app: What is behind it.
        limits: Bounds of uploads.
        store: Where they are kept.
    """

    def __init__(self, app: ASGIApp, limits: Limits, store: Store) -> None:
        self._app = app
        self._limits = limits
        self._store = store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope['type'] == 'lifespan':
            return await self._app(scope, receive, send)
        if scope['type'] != 'http':
            return None  # web sockets are not answered
        try:
            receive = await self._admit(scope, receive)
        except HTTPException as refusal:
            answer = JSONResponse(dict(detail=refusal.detail), refusal.status_code)
            return await answer(scope, receive, send)
        except ClientDisconnect:
            return None
        return await self._app(scope, receive, _with_headers(send))

    async def _admit(self, scope: Scope, receive: Receive) -> Receive:
        """What the app behind may receive.

        Raises:
            HTTPException: It is not to see this request.
        """
        method, path = scope['method'], scope['path']
        if method not in _ROUTES or not _ROUTES[method].fullmatch(path):
            raise HTTPException(404, 'Not found')
        upload = path.rstrip('/') == _UPLOAD
        most = self._limits.upload_bytes + _ENVELOPE if upload else _BODY
        length = Headers(scope=scope).get('content-length', '0')
        if not length.isdecimal() or int(length) > most:
            raise _too_large(most)
        receive = _counted(receive, most)
        if method == 'POST':
            await run_in_threadpool(self._store.make_room)
            if not upload:
                body = await Request(scope, receive).body()
                return _replayed(self._with_uploaded_files(body), receive)
        return receive

    def _with_uploaded_files(self, body: bytes) -> bytes:
        """A body in JSON, as Gradio will read it, once each file in it is found an uploaded one.

        For a component of any kind Gradio copies a file that a request names to where visitors
        can get it, and downloads it if the name is an address.
        """
        try:
            data = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise HTTPException(400, 'Not in JSON') from error
        waiting = [data]
        while waiting:
            value = waiting.pop()
            if isinstance(value, dict):
                if 'path' in value:
                    try:
                        uploaded_file(value['path'], self._store.folder)
                    except Refused as error:
                        raise HTTPException(403, str(error)) from error
                waiting.extend(value.values())
            elif isinstance(value, list):
                waiting.extend(value)
        return json.dumps(data).encode()  # of two equal keys, the one that was looked at


def _too_large(most: int) -> HTTPException:
    return HTTPException(413, f'Too large: at most {megabytes(most)}')


def _counted(receive: Receive, most: int) -> Receive:
    """``receive``, for senders that do not say how much they send."""
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get('body', b''))
        if received > most:
            raise _too_large(most)
        return message

    return counted


def _replayed(body: bytes, receive: Receive) -> Receive:
    """``receive`` of a request whose body was read."""
    waiting = [dict(type='http.request', body=body, more_body=False)]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed


def _with_headers(send: Send) -> Send:
    async def with_headers(message: Message) -> None:
        if message['type'] == 'http.response.start':
            MutableHeaders(scope=message).update(_HEADERS)
        await send(message)

    return with_headers
