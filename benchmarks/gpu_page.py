"""The page of ``gpu_report.py``, and the table of docs/scaling.md, out of its JSON files."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCALING = ROOT / 'docs' / 'scaling.md'
BEGIN, END = '<!-- gpu_report.py: begin -->', '<!-- gpu_report.py: end -->'
UNMEASURED = 'unmeasured'
RECIPES = {
    'cascade_mask_rcnn_mambavision_t_coco': 'Cascade Mask R-CNN, MambaVision-T',
    'upernet_mambavision_t_ade20k': 'UperNet, MambaVision-T',
    'upernet_mambavision_l2_ade20k': 'UperNet, MambaVision-L2',
    'upernet_mambavision_l3_ade20k': 'UperNet, MambaVision-L3',
}
PUBLISHED = {
    'upernet_mambavision_t_ade20k': 'published for an A100: 0.168 s an iteration of one image, '
    '2.45 GB.',
    'cascade_mask_rcnn_mambavision_t_coco': 'published for an A100, in a test: 0.138 s an image, '
    '1.28 GB.',
}


def read(folder: Path) -> dict[str, dict]:
    """The files of the parts in a folder of results, by part."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob('*.json'))}


def rows_of(parts: dict[str, dict], name: str) -> list[dict]:
    results = parts.get(name, {}).get('results', [])
    return [row for result in results for row in result.get('rows', [])]


def write_page(folder: Path) -> Path:
    """Write ``README.md`` beside the files of the parts, all of one device; returns its path."""
    from gpu_parts import PARTS

    parts = read(folder)
    first = next(iter(parts.values()))
    cuda = f', CUDA {first["cuda"]}' if 'cuda' in first else ''
    lines = [f'# {first["machine"]}, torch {first["torch"]}{cuda}', '']
    if first['device'] == 'cpu':
        lines += ['Small sizes on a CPU: that every part runs, and no measurement.', '']
    else:
        lines += ['## Goals', '', *table(goals(parts)), '']
    for name, part in PARTS.items():
        lines += [f'## {part.title}', '', f'`--part {name}`', '']
        lines += [*section(parts.get(name)), '']
    path = folder / 'README.md'
    path.write_text('\n'.join(lines).rstrip() + '\n')
    return path


def section(content: dict | None) -> list[str]:
    """The lines of a part: its rows, what failed, and what is left."""
    if content is None:
        return [f'{UNMEASURED.capitalize()}.']
    rows = [row for result in content['results'] for row in result.get('rows', [])]
    lines = table(rows) if rows else []
    for result in content['results']:
        if 'error' in result:
            lines += ['', f'- {_text(result["case"])}: {result["error"]}']
    for row in rows:
        if row.get('recipe') in PUBLISHED and row['images'] == 1:
            lines += ['', f'{row["recipe"]}: {PUBLISHED[row["recipe"]]}']
    if content['left']:
        lines += ['', f'{content["left"]} cases are {UNMEASURED}.']
    return lines or ['No such case on this device.']


def table(rows: list[dict]) -> list[str]:
    """A Markdown table, a column for each key of any row."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, ['---'] * len(columns)]
    lines += [[_text(row.get(key)) for key in columns] for row in rows]
    return [f'| {" | ".join(line)} |' for line in lines]


def _text(value) -> str:
    if value is None:
        return ''
    if isinstance(value, dict):
        return ', '.join(f'{key} {_text(entry)}' for key, entry in value.items())
    if isinstance(value, list):
        separator = 'x' if value and all(isinstance(entry, int) for entry in value) else ', '
        return separator.join(map(_text, value))
    return f'{value:.4g}' if isinstance(value, float) else str(value).replace('|', r'\|')


def goals(parts: dict[str, dict]) -> list[dict]:
    """What is wanted of an H100, and what was found; unmeasured where nothing was."""
    times = {}
    for row in rows_of(parts, 'scan_time'):
        key = row['batch'], row['length'], row['dim'], row['what'], row['dtype']
        times.setdefault(key, {})[row['backend']] = row['ms']
    ratios = {
        key: found['mamba_ssm'] / found['triton']
        for key, found in times.items()
        if {'mamba_ssm', 'triton'} <= found.keys()
    }
    long = [ratio for key, ratio in ratios.items() if key[:2] == (1, 12544)]
    least, least_long = (min(values, default=None) for values in (ratios.values(), long))
    rows = [
        _goal("scan: mamba-ssm's time over ours, least of all shapes", '>= 1', least, 1.0, 1),
        _goal('scan: the same at batch 1, L = 12,544', '>= 2', least_long, 2.0, 1),
    ]
    for model, padding in (('mambavision_t', 'minimal'), ('mambaout_tiny', None)):
        for part in ('backbones_800', 'backbones_800_compiled'):
            values = [
                row['times_convnext_tiny']
                for row in rows_of(parts, part)
                if (row['model'], row['padding']) == (model, padding)
                and (row['size'], row['dtype'], row['batch']) == ('800x1344', 'bfloat16', 1)
            ]
            how = 'compiled' if part.endswith('compiled') else 'eager'
            what = f"{model}, 800x1344, bfloat16, batch 1, {how}: time over ConvNeXt-T's"
            rows.append(_goal(what, '<= 1', min(values, default=None), 1.0, -1))
    return rows


def _goal(what: str, wanted: str, value: float | None, bound: float, sign: int) -> dict:
    if value is None:
        return dict(goal=what, wanted=wanted, found=UNMEASURED, held='')
    held = 'yes' if sign * (value - bound) >= 0 else 'no'
    return dict(goal=what, wanted=wanted, found=round(value, 3), held=held)


def scaling_table(results: Path) -> list[str]:
    """Seconds an image of each recipe's training step on each GPU that was measured."""
    gpus = {}
    for path in sorted(results.glob('gpu_*/training.json')):
        content = json.loads(path.read_text())
        if content['device'] == 'cuda':
            gpus[content['machine']] = rows_of({'training': content}, 'training')
    rows = []
    for recipe, name in RECIPES.items():
        row = {'`t`, seconds an image': name}
        for gpu, measured in gpus.items() or {'any GPU': []}.items():
            values = [
                r['seconds_per_image']
                for r in measured
                if (r['recipe'], r['images']) == (recipe, 2)
            ]
            row[gpu] = round(values[0], 4) if values else UNMEASURED
        rows.append(row)
    return table(rows)


def fill_in_scaling(results: Path, page: Path = SCALING) -> None:
    """Put the table in its place in docs/scaling.md."""
    text = page.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    page.write_text('\n'.join((before + BEGIN, *scaling_table(results), END + after)))
