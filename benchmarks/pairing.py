"""Pairs every config that mmdet and mmseg ship with both families, builds it, runs and trains it.

Each in a process of its own, with limits of time and memory, on the CPU: small backbones, small
made-up images, one prediction, one step of the config's own optimizer. A config whose paired model
and optimizer differ from an earlier one's in the number of classes and the learning rate at most
is read and paired, and shares the earlier one's result. What fails is tried once more with the
config as it is shipped, so that what is the config's own, or this machine's, is told from what
pairing did. The first config of every family comes first, then every second, and so on. Rows are
kept as they come: a sweep that was stopped goes on where it was.
"""

import argparse
import contextlib
import copy
import fnmatch
import hashlib
import importlib.util
import io
import json
import multiprocessing
import resource
import signal
import sysconfig
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from machine import machine
from mmengine.config import Config
from recording import RESULTS

from mmvision_mamba.config import fit_to_machine
from mmvision_mamba.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs' / 'pairing_tried.md'
ROWS = RESULTS / 'pairing.jsonl'
PACKAGES = ('mmdet', 'mmseg')
BACKBONES = {
    'MambaVision': dict(dim=32, in_dim=8, depths=(1, 1, 2, 2), num_heads=(1, 2, 2, 4)),
    'MambaOut': dict(dims=(32, 64, 128, 192), depths=(1, 1, 1, 1)),
}
STAGES = ('read', 'paired', 'built', 'predicted', 'trained')
_AS_SHIPPED = 'as shipped'
_SECONDS = 300
_BYTES = 16 * 2**30  # of a process's addresses
_WAITED = 10  # as long as it may compute, for a process that waits, or shares its processor
_MARK = '<!-- made by benchmarks/pairing.py -->'
# What of a model and an optimizer is the data's, the schedule's or the number of classes.
_NOT_OF_THE_MODEL = {
    *('num_classes', 'num_things_classes', 'num_stuff_classes', 'class_weight'),
    *('lr', 'weight_decay', 'batch_augments', 'size', 'crop_size'),
}


def shipped_configs() -> list[tuple[str, str]]:
    """Family, which is the folder, and name of every config that is no base of others."""
    families = defaultdict(list)
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        root = Path(spec.submodule_search_locations[0], '.mim', 'configs')
        for file in sorted(root.rglob('*.py')):
            path = file.relative_to(root)
            if not {'_base_', 'common'} & set(path.parts):
                families[f'{package}::{path.parts[0]}'].append(f'{package}::{path}')
    ranked = [(i, f, name) for f, names in families.items() for i, name in enumerate(names)]
    return [(family, name) for _, family, name in sorted(ranked, key=lambda entry: entry[0])]


def attempt(
    name: str, backbone: str, known: dict[str, str], seconds: int, send: Connection
) -> None:
    """Go through the stages with one config, sending what came of each as ``(stage, reason)``.

    The reason is empty where a stage was passed. A model that does not predict may still train;
    one that does not do both is tried with larger images. Behind ``paired`` comes ``('model',
    fingerprint)``; where that is known already, it is the last.
    """
    import one_step

    from mmvision_mamba.config import read_config_file
    from mmvision_mamba.pairing import pair

    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (_BYTES, _BYTES))

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
        if passed:
            model = fingerprint(cfg)
            send.send(('model', model))
            passed = model not in known
        for side in one_step.SIDES if passed else ():
            model, passed = tried('built', one_step.build, cfg, side)
            if not passed:
                return
            _, predicted = tried('predicted', one_step.predict, cfg, model, side)
            _, trained = tried('trained', one_step.train_step, cfg, model, side)
            if predicted and trained:
                return


def fingerprint(cfg: Config) -> str:
    """Equal for configs whose model and optimizer differ in nothing that is built or run here."""
    cfg = copy.deepcopy(cfg)
    fit_to_machine(cfg)
    built = [cfg.get('default_scope'), cfg.model.to_dict(), dict(cfg.get('optim_wrapper') or {})]
    text = json.dumps(_of_the_model(built), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _of_the_model(node: object) -> object:
    if isinstance(node, dict):
        return {k: _of_the_model(v) for k, v in node.items() if k not in _NOT_OF_THE_MODEL}
    return [_of_the_model(x) for x in node] if isinstance(node, list | tuple) else node


def _text(error: Exception) -> str:
    kind = type(error).__name__
    text = ' '.join(str(error).split()).split(', the current sys.path')[0]
    text = text.replace(f'{sysconfig.get_path("purelib")}/', '')[:300]  # this machine's alone
    return text if kind == 'InputError' else f'{kind}: {text}'


def bounded_attempt(name: str, backbone: str, known: dict[str, str], seconds: int) -> dict:
    """What :func:`attempt` sent until it ended or its time was up, and the seconds it took."""
    context = multiprocessing.get_context('forkserver')
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=attempt, args=(name, backbone, known, seconds, send))
    start = time.monotonic()
    process.start()
    send.close()
    stages = {}
    end = f'not done within {seconds} s'
    with contextlib.suppress(EOFError):
        while receive.poll(max(0, start + _WAITED * seconds - time.monotonic())):
            stage, reason = receive.recv()
            stages[stage] = reason
    process.join(10)
    if process.exitcode not in (None, -signal.SIGXCPU):
        end = f'its process ended with exit status {process.exitcode}'
    process.kill()
    process.join()
    model = stages.pop('model', None)
    result = dict(stages=stages, seconds=round(time.monotonic() - start, 1), model=model)
    if model is not None and model in known:
        return result | dict(same_as=known[model])
    if len(stages) < len(STAGES) and not any(stages.values()):
        stages[STAGES[len(stages)]] = end
    return result


def try_config(
    family: str, name: str, known: dict[str, dict[str, str]], seconds: int
) -> list[dict]:
    """A row of the table for each backbone; ``known`` has each one's models so far."""
    rows = []
    for backbone, models in known.items():
        row = dict(family=family, config=name, backbone=backbone)
        row |= bounded_attempt(name, backbone, models, seconds)
        if 'same_as' not in row and is_paired(row):
            if row['model'] is not None:  # else it ended before that was known
                models[row['model']] = name
            if not is_passed(row):
                row['as_shipped'] = bounded_attempt(name, _AS_SHIPPED, {}, seconds)['stages']
        rows.append(row)
    return rows


def is_paired(row: dict) -> bool:
    return row['stages'].get('paired') == ''


def is_passed(row: dict) -> bool:
    return all(row['stages'].get(stage) == '' for stage in STAGES)


def sweep(rows: list[dict], pattern: str, seconds: int) -> Iterator[dict]:
    """Rows of configs that have none yet."""
    tried = {row['config'] for row in rows}
    known = {
        backbone: {
            row['model']: row['config']
            for row in rows
            if row['backbone'] == backbone and row['model'] is not None and 'same_as' not in row
        }
        for backbone in BACKBONES
    }
    for family, name in shipped_configs():
        if name not in tried and fnmatch.fnmatch(name, pattern):
            yield from try_config(family, name, known, seconds)


def read_rows() -> list[dict]:
    """The rows there are, of configs that were tried with all backbones."""
    lines = ROWS.read_text().splitlines()[1:] if ROWS.exists() else []
    rows = [json.loads(line) for line in lines]
    last = {row['config'] for row in rows if row['backbone'] == list(BACKBONES)[-1]}
    return [row for row in rows if row['config'] in last]


def write_rows(rows: Iterable[dict], seconds: int) -> None:
    """A line of what they were measured with, and a line each."""
    head = dict(machine=machine('cpu'), torch=torch.__version__, seconds_at_most=seconds)
    ROWS.write_text(''.join(json.dumps(line) + '\n' for line in [head, *rows]))


def with_shared_results(rows: list[dict]) -> list[dict]:
    """The rows, those of a known model with what came of it."""
    own = {(row['config'], row['backbone']): row for row in rows if 'same_as' not in row}
    shared = []
    for row in rows:
        first = own.get((row.get('same_as'), row['backbone']), row)
        result = {key: first[key] for key in ('stages', 'as_shipped') if key in first}
        shared.append(row | result)
    return shared


def has_pyramid(row: dict) -> bool:
    """Whether a row is of a model that was read and whose backbone gives a pyramid."""
    reason = row['stages'].get('paired')
    return reason is not None and not reason.startswith('NotAPyramidError')


def page(rows: list[dict]) -> str:
    """docs/pairing_tried.md, with its last part anew."""
    ran = sum('same_as' not in row and is_paired(row) for row in rows)
    rows = with_shared_results(rows)
    pyramid = [row for row in rows if has_pyramid(row)]
    unread = sum(row['stages'].get('read') != '' for row in rows)
    counts = {stage: sum(_passed(row, stage) for row in pyramid) for stage in STAGES}
    paired = [row for row in pyramid if is_paired(row)]
    missed = sum(not is_passed(row) and not _ends_so_as_shipped(row) for row in paired)
    configs, total = len({row['config'] for row in rows}), len(shipped_configs())
    lines = [
        f'Tried: {configs} of {total} configs, each with {len(BACKBONES)} backbones, {len(rows)} '
        f'pairs. {unread} have no model or cannot be read here, '
        f'{len(rows) - unread - len(pyramid)} have no pyramid to replace. Of the other '
        f'{len(pyramid)}, {counts["paired"]} pair ({counts["paired"] / len(pyramid):.1%}), '
        f'{counts["built"]} build, {counts["predicted"]} predict and {counts["trained"]} train; '
        f'{missed} of those that pair end otherwise than the config does as it is shipped. There '
        f'are {ran} different models: a config whose model differs from an earlier one in the '
        'number of classes at most, and in the learning rate, has its result.',
        '',
        '| family | pairs | paired | built | predicted | trained | what ended the others |',
        '|---|---|---|---|---|---|---|',
    ]
    families = defaultdict(list)
    for row in rows:
        families[row['family']].append(row)
    for family, of_family in sorted(families.items()):
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
            # What the new ones give is said once, above the table.
            text = reason.removeprefix('NotAPyramidError: ').split(', and the new one has')[0]
            text = text.replace('|', '\\|')[:160]
            reasons.append(text + (' (as shipped too)' if _ends_so_as_shipped(row) else ''))
    return list(dict.fromkeys(reasons))[:3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--only', default='*', metavar='PATTERN', help='such as mmdet::dino/*')
    parser.add_argument('--again', action='store_true', help='forget the rows of those')
    parser.add_argument(
        '--seconds', type=int, default=_SECONDS, help='that a process may compute (default: 300)'
    )
    args = parser.parse_args()
    rows = read_rows()
    if args.again:  # those that share their results too
        rows = [
            row
            for row in rows
            if not fnmatch.filter([row['config'], row.get('same_as', row['config'])], args.only)
        ]
    write_rows(rows, args.seconds)
    preload = ['mmdet.models', 'mmseg.models', 'mmdet.testing', 'mmvision_mamba.pairing']
    multiprocessing.set_forkserver_preload([*preload, 'one_step'])
    for row in sweep(rows, args.only, args.seconds):
        rows.append(row)
        with ROWS.open('a') as file:
            file.write(json.dumps(row) + '\n')
        ends = [f'{stage}: {reason[:160]}' for stage, reason in row['stages'].items() if reason]
        passed = f'same model as {row["same_as"]}' if 'same_as' in row else 'trained and predicted'
        said = '; '.join(ends) or passed
        print(f'{row["config"]} {row["backbone"]}, {row["seconds"]} s: {said}', flush=True)
    PAGE.write_text(page(rows))


if __name__ == '__main__':
    main()
