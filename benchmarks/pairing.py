"""Pairs every config that mmdet and mmseg ship with both families, builds it, runs and trains it.

Each in a process of its own, with a limit of time, on the CPU: small backbones, small made-up
images, one prediction, one step of the config's own optimizer. What fails is tried once more with
the config as it is shipped, so that what is the config's own, or this machine's, is told from what
pairing did. Rows are kept as they come: a sweep that was stopped goes on where it was.
"""

import argparse
import contextlib
import fnmatch
import importlib.util
import io
import json
import multiprocessing
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from mmengine.config import Config
from recording import RESULTS, record

from mmvision_mamba.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs' / 'pairing.md'
PACKAGES = ('mmdet', 'mmseg')
BACKBONES = {
    'MambaVision': dict(dim=32, in_dim=8, depths=(1, 1, 2, 2), num_heads=(1, 2, 2, 4)),
    'MambaOut': dict(dims=(32, 64, 128, 192), depths=(1, 1, 1, 1)),
}
STAGES = ('read', 'paired', 'built', 'predicted', 'trained')
_AS_SHIPPED = 'as shipped'
_SECONDS = 120
_MARK = '<!-- made by benchmarks/pairing.py -->'


def shipped_configs() -> Iterator[tuple[str, str]]:
    """Family, which is the folder, and name of every config that is no base of others."""
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        root = Path(spec.submodule_search_locations[0], '.mim', 'configs')
        for file in sorted(root.rglob('*.py')):
            path = file.relative_to(root)
            if not {'_base_', 'common'} & set(path.parts):
                yield f'{package}::{path.parts[0]}', f'{package}::{path}'


def attempt(name: str, backbone: str, send: Connection) -> None:
    """Go through the stages with one config, sending what came of each as ``(stage, reason)``.

    The reason is empty where a stage was passed. A model that does not predict may still train;
    one that does not do both is tried with larger images.
    """
    import one_step

    from mmvision_mamba.config import read_config_file
    from mmvision_mamba.pairing import pair

    torch.set_num_threads(1)

    def read_model() -> Config:
        cfg = read_config_file(name)
        if not isinstance(cfg.get('model'), dict):
            raise InputError('it has no model')
        return cfg

    def paired(cfg: Config) -> Config:
        node = dict(type=backbone, arch=BACKBONES.get(backbone))
        return cfg if backbone == _AS_SHIPPED else pair(cfg, node)

    def tried(stage: str, step: Callable, *args: object) -> tuple[object, bool]:
        result = reason = None
        try:
            result = step(*args)
        except Exception as error:  # of whatever kind: it is what the table is about
            reason = _text(error)
        send.send((stage, reason or ''))
        return result, reason is None

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        cfg, passed = tried('read', read_model)
        if passed:
            cfg, passed = tried('paired', paired, cfg)
        for side in one_step.SIDES if passed else ():
            model, passed = tried('built', one_step.build, cfg, side)
            if not passed:
                return
            _, predicted = tried('predicted', one_step.predict, cfg, model, side)
            _, trained = tried('trained', one_step.train_step, cfg, model, side)
            if predicted and trained:
                return


def _text(error: Exception) -> str:
    kind = type(error).__name__
    text = ' '.join(str(error).split())[:400]
    return text if kind == 'InputError' else f'{kind}: {text}'


def bounded_attempt(name: str, backbone: str, seconds: float) -> dict:
    """What :func:`attempt` sent until it ended or its time was up, and the seconds it took."""
    context = multiprocessing.get_context('forkserver')
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=attempt, args=(name, backbone, send))
    start = time.monotonic()
    process.start()
    send.close()
    stages = {}
    try:
        while receive.poll(max(0, start + seconds - time.monotonic())):
            stage, reason = receive.recv()
            stages[stage] = reason
        end = f'not done within {seconds:g} s'
    except EOFError:
        process.join(10)
        end = f'its process ended with exit status {process.exitcode}'
    process.kill()
    process.join()
    if len(stages) < len(STAGES) and not any(stages.values()):
        stages[STAGES[len(stages)]] = end
    return dict(stages=stages, seconds=round(time.monotonic() - start, 1))


def try_config(family: str, name: str, seconds: float) -> list[dict]:
    """A row of the table for each backbone."""
    rows = []
    for backbone in BACKBONES:
        row = dict(family=family, config=name, backbone=backbone)
        row |= bounded_attempt(name, backbone, seconds)
        if is_paired(row) and not is_passed(row):
            row['as_shipped'] = bounded_attempt(name, _AS_SHIPPED, seconds)['stages']
        rows.append(row)
    return rows


def is_paired(row: dict) -> bool:
    return row['stages'].get('paired') == ''


def is_passed(row: dict) -> bool:
    return all(row['stages'].get(stage) == '' for stage in STAGES)


def sweep(
    rows: list[dict], path: Path, pattern: str, families_only: bool, seconds: float
) -> Iterator[dict]:
    """Add rows for configs that have none yet, writing the file after each."""
    known = {row['config'] for row in rows}
    done = {row['family'] for row in rows if is_paired(row)}
    for family, name in shipped_configs():
        if name in known or not fnmatch.fnmatch(name, pattern):
            continue
        if families_only and family in done:
            continue
        new = try_config(family, name, seconds)
        rows += new
        record(path, 'cpu', seconds_at_most=seconds, rows=rows)
        if all(map(is_paired, new)):
            done.add(family)
        yield from new


def has_pyramid(row: dict) -> bool:
    """Whether a row is of a model that was read and whose backbone gives a pyramid."""
    reason = row['stages'].get('paired')
    return reason is not None and not reason.startswith('NotAPyramidError')


def page(rows: list[dict], families_only: bool) -> str:
    """docs/pairing.md, with its last part anew."""
    pyramid = [row for row in rows if has_pyramid(row)]
    unread = sum(row['stages'].get('read') != '' for row in rows)
    counts = {stage: sum(_passed(row, stage) for row in pyramid) for stage in STAGES}
    missed = sum(not is_passed(row) and not _ends_so_as_shipped(row) for row in pyramid)
    what = 'of each family the configs up to the first that pairs' if families_only else 'all'
    lines = [
        f'Tried: {what}, {len(rows)} pairs of a config and a backbone. {unread} have no model or '
        f'cannot be read here, {len(rows) - unread - len(pyramid)} have no pyramid to replace. Of '
        f'the other {len(pyramid)}, {counts["paired"]} pair, {counts["built"]} build, '
        f'{counts["predicted"]} predict and {counts["trained"]} train; {missed} end otherwise than '
        'the config does as it is shipped.',
        '',
        '| family | pairs | paired | built | predicted | trained | what ended the others |',
        '|---|---|---|---|---|---|---|',
    ]
    families = defaultdict(list)
    for row in rows:
        families[row['family']].append(row)
    for family, of_family in families.items():
        numbers = [sum(_passed(row, stage) for row in of_family) for stage in STAGES[1:]]
        cells = [family, len(of_family), *numbers, '; '.join(_reasons(of_family))]
        lines.append(f'| {" | ".join(map(str, cells))} |')
    head = PAGE.read_text().split(_MARK)[0]
    return f'{head}{_MARK}\n\n' + '\n'.join(lines) + '\n'


def _passed(row: dict, stage: str) -> bool:
    return row['stages'].get(stage) == ''


def _ends_so_as_shipped(row: dict) -> bool:
    """Whether the config with its own backbone fails wherever the paired one does."""
    failed = [stage for stage in STAGES if not _passed(row, stage)]
    return 'as_shipped' in row and all(row['as_shipped'].get(stage) != '' for stage in failed)


def _reasons(rows: list[dict]) -> list[str]:
    """Each reason once, the first few, and whether the config as it is shipped ends so too."""
    reasons = []
    for row in rows:
        for reason in filter(None, row['stages'].values()):
            for name, words in ((row['config'], 'the config'), (row['backbone'], 'the new one')):
                reason = reason.replace(name, words)
            text = reason.removeprefix('NotAPyramidError: ').replace('|', '\\|')[:160]
            reasons.append(text + (' (as shipped too)' if _ends_so_as_shipped(row) else ''))
    return list(dict.fromkeys(reasons))[:3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--only', default='*', metavar='PATTERN', help='such as mmdet::dino/*')
    parser.add_argument(
        '--families-only',
        action='store_true',
        help='of each family the configs up to the first that pairs',
    )
    parser.add_argument('--again', action='store_true', help='forget the rows there are')
    parser.add_argument('--seconds', type=float, default=_SECONDS, help='limit of a process')
    args = parser.parse_args()
    path = RESULTS / ('pairing_families.json' if args.families_only else 'pairing.json')
    rows = []
    if path.exists() and not args.again:
        rows = json.loads(path.read_text())['rows']
    multiprocessing.set_forkserver_preload(['mmdet.models', 'mmseg.models', 'one_step'])
    for row in sweep(rows, path, args.only, args.families_only, args.seconds):
        ends = [f'{stage}: {reason[:160]}' for stage, reason in row['stages'].items() if reason]
        said = '; '.join(ends) or 'trained and predicted'
        print(f'{row["config"]} {row["backbone"]}, {row["seconds"]} s: {said}', flush=True)
    PAGE.write_text(page(rows, args.families_only))


if __name__ == '__main__':
    main()
