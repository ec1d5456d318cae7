"""A local file of published weights, downloaded if need be."""

import difflib
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlparse

import torch
from filelock import FileLock, Timeout
from huggingface_hub import get_session, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import HTTPError
from huggingface_hub.file_download import http_get
from mmengine.logging import print_log

from ..errors import InputError
from .digests import sha256_of
from .published import PUBLISHED, TIMM_FILE, Published
from .reading import check_whole

_SUFFIXES = ('.pth', '.tar', '.pt', '.bin', '.ckpt', '.safetensors')
# The second is of the HTTP library that the hub's client is built on, which is not always the same.
_NETWORK_ERRORS = (OSError, HTTPError)
# Seconds in which a server answers if it can be reached; the hub's client would try many times.
_ANSWERS_WITHIN = int(os.environ.get('HF_HUB_ETAG_TIMEOUT') or 5)


def locate(name: str | Path) -> Path:
    """A local file of ``name``, downloaded if need be.

    Hub files lie in the hub's cache and URLs in torch's (``TORCH_HOME``), where a published file
    that was put by hand is found too. ``HF_ENDPOINT`` and ``HF_HUB_OFFLINE`` hold for both.

    Args:
        name: A name of :data:`PUBLISHED`, a path, an http(s) URL, or a hub repo id.

    Raises:
        InputError: There is no such thing; it cannot be downloaded, saying where to put which file
            instead; or what came, or lay in a cache, is damaged, and has been removed.
    """
    name = str(name)
    if name in PUBLISHED:
        return _locate_published(PUBLISHED[name])
    if name.startswith(('http://', 'https://')):
        return _locate_url(name)
    path = Path(name.removeprefix('file://')).expanduser()
    if path.is_file():
        return path
    if re.fullmatch(r'[\w.-]+/[\w.-]+', name) and not name.endswith(_SUFFIXES):
        published = [entry for entry in PUBLISHED.values() if entry.repo == name]
        if published:
            return _locate_published(published[0])
        return _from_hub(name, TIMM_FILE, _folder() / f'{name.split("/")[1]}.safetensors')
    close = difflib.get_close_matches(name, PUBLISHED, n=3)
    raise InputError(
        f'checkpoint {name} does not exist'
        + (f'; did you mean {" or ".join(close)}?' if close else '')
    )


def _folder() -> Path:
    return Path(torch.hub.get_dir(), 'checkpoints')


def _locate_published(entry: Published) -> Path:
    by_hand = _folder() / entry.local_name
    path = by_hand if by_hand.is_file() else _from_hub(entry.repo, entry.filename, by_hand)
    print_log(f'{entry.name}: published weights, licence {entry.licence}', 'current')
    if entry.kind == 'model' and entry.family == 'MambaVision':
        print_log(
            f'{entry.name} was trained with fully padded windows: give the backbone '
            "window_padding='full' (--cfg-options model.backbone.window_padding=full)",
            'current',
        )
    return path


def _from_hub(repo: str, filename: str, by_hand: Path) -> Path:
    url = hf_hub_url(repo, filename)
    cached = try_to_load_from_cache(repo, filename)
    try:
        if cached is None:
            _reach(url)
        path = Path(hf_hub_download(repo, filename, etag_timeout=_ANSWERS_WITHIN))
    except _NETWORK_ERRORS as error:
        raise _unreachable(url, by_hand, error) from error
    # A file of the hub's large storage is kept under its digest.
    digest = path.resolve().name if str(path) != cached else ''
    _remove_if_damaged(path, digest if re.fullmatch('[0-9a-f]{64}', digest) else '')
    return path


def _locate_url(url: str) -> Path:
    path = _folder() / _file_name(url)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(path):
            if not path.is_file():  # another process has downloaded it meanwhile
                _download(url, path)
    # As torch.hub has it, a name may end in the first digits of the file's digest.
    digest = re.search(r'-([0-9a-f]{8,64})\.', path.name)
    _remove_if_damaged(path, digest[1] if digest else '')
    return path


def _file_name(url: str) -> str:
    try:
        parts = urlparse(url)
        name = Path(unquote(parts.path)).name
    except ValueError as error:
        raise InputError(f'{url} is no address of a file: {error}') from error
    if not parts.hostname or not name:
        raise InputError(f'{url} is no address of a file: it lacks a host or a file name')
    return name


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Of all processes that share the folder, one is within at a time."""
    lock = FileLock(f'{path}.lock')
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print_log(f'waiting for another process, which downloads {path.name}', 'current')
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _download(url: str, path: Path) -> None:
    partial = path.with_name(f'{path.name}.{uuid.uuid4().hex[:8]}.incomplete')
    try:
        _reach(url)
        with open(partial, 'wb') as file:
            http_get(url, file, displayed_filename=path.name)
        os.replace(partial, path)
    except _NETWORK_ERRORS as error:
        raise _unreachable(url, path, error) from error
    finally:
        partial.unlink(missing_ok=True)


def _reach(url: str) -> None:
    """Raise a network error at once where no server answers, whatever it would say."""
    get_session().head(url, timeout=_ANSWERS_WITHIN)


def _remove_if_damaged(path: Path, digest: str) -> None:
    try:
        check_whole(path)
        if digest and not (found := sha256_of(path)).startswith(digest):
            raise InputError(f'{path} is corrupted: its digest is {found}, not {digest}')
    except InputError as error:
        # A cached file of the hub is a link to what holds its content.
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise InputError(f'{error}. The download was removed; try again') from error


def _unreachable(url: str, by_hand: Path, error: Exception) -> InputError:
    # The hub's client says last that nothing is cached, which what it met before explains.
    error = error.__cause__ or error
    reason = str(error).strip().split('\n')[0]
    return InputError(
        f'{url} could not be downloaded ({type(error).__name__}: {reason}). Without network, fetch '
        f'it elsewhere and put it at {by_hand}, or give the path of the file instead'
    )
