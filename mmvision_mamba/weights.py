"""Published weights: what there is, where it lies, and a local file of it.

``python -m mmvision_mamba.weights list`` prints the table, ``fetch NAME`` downloads, ``check FILE``
says which model a file is of and what of it would load.
"""

import argparse
import difflib
import hashlib
import os
import re
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlparse

import timm
import torch
from huggingface_hub import hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.file_download import http_get
from mmengine.logging import print_log
from mmengine.registry import MODELS
from rich.console import Console
from rich.table import Table

from .checkpoints import (
    Comparison,
    check_whole,
    find_state_dict,
    read_checkpoint,
    strip_prefixes,
)
from .errors import InputError

__all__ = ['PUBLISHED', 'Published', 'locate', 'read_checkpoint']

_TIMM_FILE = 'model.safetensors'
_SUFFIXES = ('.pth', '.tar', '.pt', '.bin', '.ckpt', '.safetensors')
# The second is the base of every error of the HTTP library that the hub's client is built on.
_NETWORK_ERRORS = (OSError, HfHubHTTPError.__bases__[0])


@dataclass(frozen=True)
class Published:
    """One published file.

    Attributes:
        name: What a config or a command line calls it by. A model has the name of its config here.
        kind: ``'backbone'``, trained on ImageNet, or ``'model'``, a whole detector or segmentor.
        arch: The backbone's arch in this package.
        repo: Repository on the Hugging Face hub.
        filename: File in that repository.
        licence: Of the weights, not of this code.
        input_size: Side of the training pictures in pixels, or (short, long) side at most.
        scores: As published by the authors; empty where none was.
        params: Millions of parameters as published, of a backbone with its classifier.
        flops: Billions of FLOPs as published, a multiply-add counted as one.
    """

    name: str
    kind: str
    family: str
    arch: str
    repo: str
    filename: str
    licence: str
    input_size: int | tuple[int, int]
    scores: dict[str, float] = field(default_factory=dict)
    params: float | None = None
    flops: float | None = None

    @property
    def local_name(self) -> str:
        """What the file is called in torch's folder of checkpoints, if a user puts it there."""
        return f'{self.name}.safetensors' if self.filename == _TIMM_FILE else self.filename


# Of ImageNet backbones, as their authors publish them: top-1 accuracy, millions of parameters,
# billions of FLOPs.
_BACKBONE_FIGURES = {
    'mambavision_t.in1k': (82.3, 31.8, 4.4),
    'mambavision_t2.in1k': (82.7, 35.1, 5.1),
    'mambavision_s.in1k': (83.3, 50.1, 7.5),
    'mambavision_b.in1k': (84.2, 97.7, 15.0),
    'mambavision_l.in1k': (85.0, 227.9, 34.9),
    'mambavision_l2.in1k': (85.3, 241.5, 37.5),
    'mambavision_b.in21k': (84.9, 97.7, 15.0),
    'mambavision_l.in21k': (86.1, 227.9, 34.9),
    'mambavision_l2_512.in21k': (87.3, 241.5, 196.3),
    'mambavision_l3_256.in21k': (87.3, 739.6, 122.3),
    'mambavision_l3_512.in21k': (88.1, 739.6, 489.1),
    'mambaout_femto.in1k': (78.9, 7.3, 1.2),
    'mambaout_kobe.in1k': (80.0, 9.1, 1.5),
    'mambaout_tiny.in1k': (82.7, 26.5, 4.5),
    'mambaout_small.in1k': (84.1, 48.5, 9.0),
    'mambaout_base.in1k': (84.2, 84.8, 15.8),
}


def _backbone_figures(name: str) -> dict:
    if name not in _BACKBONE_FIGURES:
        return {}
    top1, params, flops = _BACKBONE_FIGURES[name]
    return dict(scores={'top-1': top1}, params=params, flops=flops)


def _mambavision_backbones() -> list[Published]:
    files = {
        'mambavision_t.in1k': ('T-1K', 'mambavision_tiny_1k.pth.tar', 224),
        'mambavision_t2.in1k': ('T2-1K', 'mambavision_tiny2_1k.pth.tar', 224),
        'mambavision_s.in1k': ('S-1K', 'mambavision_small_1k.pth.tar', 224),
        'mambavision_b.in1k': ('B-1K', 'mambavision_base_1k.pth.tar', 224),
        'mambavision_l.in1k': ('L-1K', 'mambavision_large_1k.pth.tar', 224),
        'mambavision_l2.in1k': ('L2-1K', 'mambavision_large2_1k.pth.tar', 224),
        'mambavision_b.in21k': ('B-21K', 'mambavision_base_21k.pth.tar', 224),
        'mambavision_l.in21k': ('L-21K', 'mambavision_large_21k.pth.tar', 224),
        'mambavision_l2_512.in21k': ('L2-512-21K', 'mambavision_L2_21k_240m_512.pth.tar', 512),
        'mambavision_l3_256.in21k': ('L3-256-21K', 'mambavision_L3_21k_740m_256.pth.tar', 256),
        'mambavision_l3_512.in21k': ('L3-512-21K', 'mambavision_L3_21k_740m_512.pth.tar', 512),
    }
    return [
        Published(
            name=name,
            kind='backbone',
            family='MambaVision',
            arch=name.removeprefix('mambavision_').split('.')[0].split('_')[0],
            repo=f'nvidia/MambaVision-{repo}',
            filename=filename,
            licence='CC-BY-NC-SA-4.0',
            input_size=size,
            **_backbone_figures(name),
        )
        for name, (repo, filename, size) in files.items()
    ]


def _mambavision_models() -> list[Published]:
    sizes = {'t': 'tiny', 's': 'small', 'b': 'base'}
    coco = {'t': (51.1, 44.3, 86), 's': (52.3, 45.2, 108), 'b': (52.8, 45.7, 145)}
    ade = {'t': (46.0, 55), 's': (48.2, 84), 'b': (49.1, 126), 'l3': (53.2, 780)}
    flops = {
        'cascade_mask_rcnn_mambavision_t_coco': 740,
        'cascade_mask_rcnn_mambavision_s_coco': 828,
        'cascade_mask_rcnn_mambavision_b_coco': 964,
        'upernet_mambavision_t_ade20k': 945,
        'upernet_mambavision_s_ade20k': 1135,
        'upernet_mambavision_b_ade20k': 1342,
        'upernet_mambavision_l3_ade20k': 3670,
    }
    models = [
        (
            f'cascade_mask_rcnn_mambavision_{arch}_coco',
            arch,
            f'cascade_mask_rcnn_mamba_vision_{sizes[arch]}_3x_coco',
            (800, 1333),
            {'box AP': box, 'mask AP': mask},
            params,
        )
        for arch, (box, mask, params) in coco.items()
    ]
    for arch, (miou, params) in ade.items():
        side = 640 if arch == 'l3' else 512
        size = 'l3_21k' if arch == 'l3' else sizes[arch]
        repo = f'mamba_vision_160k_ade20k-{side}x{side}_{size}'
        name = f'upernet_mambavision_{arch}_ade20k'
        models.append((name, arch, repo, side, {'mIoU': miou}, params))
    return [
        Published(
            name=name,
            kind='model',
            family='MambaVision',
            arch=arch,
            repo=f'nvidia/{repo}',
            filename=f'{repo}.pth',
            licence='CC-BY-NC-SA-4.0',
            input_size=size,
            scores=scores,
            params=params,
            flops=flops[name],
        )
        for name, arch, repo, size, scores, params in models
    ]


def _mambaout_backbones() -> list[Published]:
    """Those that the installed timm knows, under its names."""
    cfgs = [timm.get_pretrained_cfg(name) for name in timm.list_pretrained('mambaout_*')]
    return [
        Published(
            name=f'{cfg.architecture}.{cfg.tag}',
            kind='backbone',
            family='MambaOut',
            arch=cfg.architecture.removeprefix('mambaout_'),
            repo=cfg.hf_hub_id,
            filename=_TIMM_FILE,
            licence=cfg.license,
            input_size=cfg.input_size[-1],
            **_backbone_figures(f'{cfg.architecture}.{cfg.tag}'),
        )
        for cfg in cfgs
    ]


PUBLISHED: dict[str, Published] = {
    entry.name: entry
    for entry in (*_mambavision_backbones(), *_mambavision_models(), *_mambaout_backbones())
}


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
        return _from_hub(name, _TIMM_FILE, _folder() / f'{name.split("/")[1]}.safetensors')
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
        path = Path(hf_hub_download(repo, filename))
    except _NETWORK_ERRORS as error:
        raise _unreachable(url, by_hand, error) from error
    # A file of the hub's large storage is kept under its digest.
    digest = path.resolve().name if str(path) != cached else ''
    _remove_if_damaged(path, digest if re.fullmatch('[0-9a-f]{64}', digest) else '')
    return path


def _locate_url(url: str) -> Path:
    path = _folder() / Path(unquote(urlparse(url).path)).name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f'{path.name}.{uuid.uuid4().hex[:8]}.incomplete')
        try:
            with open(partial, 'wb') as file:
                http_get(url, file, displayed_filename=path.name)
            os.replace(partial, path)
        except _NETWORK_ERRORS as error:
            raise _unreachable(url, path, error) from error
        finally:
            partial.unlink(missing_ok=True)
    # As torch.hub has it, a name may end in the first digits of the file's digest.
    digest = re.search(r'-([0-9a-f]{8,64})\.', path.name)
    _remove_if_damaged(path, digest[1] if digest else '')
    return path


def _remove_if_damaged(path: Path, digest: str) -> None:
    try:
        check_whole(path)
        if digest:
            sha256 = hashlib.sha256()
            with open(path, 'rb') as file:
                while chunk := file.read(2**20):
                    sha256.update(chunk)
            found = sha256.hexdigest()
            if not found.startswith(digest):
                raise InputError(f'{path} is corrupted: its digest is {found}, not {digest}')
    except InputError as error:
        # A cached file of the hub is a link to what holds its content.
        path.resolve().unlink()
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


def _print_table() -> None:
    table = Table(title='Published weights; scores as published')
    for column in ('name', 'source', 'licence', 'input', 'params (M)', 'score'):
        table.add_column(column, overflow='fold')
    for entry in PUBLISHED.values():
        size = entry.input_size
        table.add_row(
            entry.name,
            entry.repo,
            entry.licence,
            str(size) if isinstance(size, int) else ' x '.join(map(str, size)),
            '' if entry.params is None else str(entry.params),
            ', '.join(f'{metric} {score}' for metric, score in entry.scores.items()),
        )
    # Where the output is no terminal, a line of the table is a line of text.
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def _backbones() -> Iterator[tuple[str, torch.nn.Module]]:
    """One of each arch, without memory for its parameters."""
    archs = {(entry.family, entry.arch) for entry in PUBLISHED.values()}
    for family, arch in sorted(archs):
        with torch.device('meta'):
            yield f'{family} {arch}', MODELS.build(dict(type=family, arch=arch))


def _describe(path: Path) -> str:
    """Which model a checkpoint is of, and what of it a backbone would load."""
    weights = find_state_dict(read_checkpoint(path))
    if weights is None:
        raise InputError(f'{path} holds no weights')
    parts = {name.removeprefix('module.').split('.')[0] for name in weights}
    best: Comparison | None = None
    for title, backbone in _backbones():
        comparison = backbone.compare(strip_prefixes(weights), title)
        if best is None or _closeness(comparison) > _closeness(best):
            best = comparison
    lines = [f'{path}: {len(weights)} tensors']
    if 'backbone' in parts:
        others = ', '.join(sorted(parts - {'backbone'}))
        lines.append(f'a whole model; beside the backbone it has {others}. Its backbone is')
    if not best.loaded:
        lines.append('of no backbone of this package')
    elif not best.fits:
        lines.append(f'of no published arch; closest is\n{best}')
    else:
        lines.append(str(best))
    return '\n'.join(lines)


def _closeness(comparison: Comparison) -> tuple[bool, int]:
    return comparison.fits, len(comparison.loaded)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog='python -m mmvision_mamba.weights', description=__doc__)
    commands = parser.add_subparsers(required=True, dest='command')
    commands.add_parser('list', help='print the table of published weights')
    fetch = commands.add_parser('fetch', help='download, and print where the file is')
    fetch.add_argument('name', help='published name, URL or hub repo id')
    check = commands.add_parser('check', help='say which model a file is of')
    check.add_argument('file', help='checkpoint file, or what fetch takes')
    args = parser.parse_args(arguments)
    if args.command == 'list':
        _print_table()
        return
    try:
        print(locate(args.name) if args.command == 'fetch' else _describe(locate(args.file)))
    except InputError as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
