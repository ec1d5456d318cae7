"""What the pages state of configs and backbones is so."""

import re
from pathlib import Path

import doc_pages as pages
import torch

from mmvision_mamba.backbones import MambaOut, MambaVision
from mmvision_mamba.checkpoints.published import PUBLISHED
from mmvision_mamba.config import load_config

DOCS = pages.ROOT / 'docs'


def rows(page: str, first: str) -> list[list[str]]:
    """The cells of the table whose head begins with a cell."""
    text = (DOCS / page).read_text()
    table = re.search(rf'^\| ?{re.escape(first)} ?\|.*?(?=\n\n)', text, re.DOTALL | re.MULTILINE)[0]
    return [[cell.strip() for cell in row.strip('|').split('|')] for row in table.split('\n')[2:]]


def test_the_configs_have_the_values_that_the_page_for_nvidias_users_gives():
    table = rows('from_nvidia.md', 'published config')
    published = [entry for entry in PUBLISHED.values() if entry.kind == 'model']
    assert {Path(row[0].strip('`')).name for row in table} == {
        Path(entry.filename).stem for entry in published
    }
    for published_name, here, batch, rate, decay, drop_paths, windows in table:
        name = re.search(r'`(\w+)`', here)[1]
        assert PUBLISHED[name].filename == f'{published_name.strip("`")}.pth'
        cfg = load_config(str(pages.ROOT / 'configs' / f'{name}.py'))
        optimizer = cfg.optim_wrapper.optimizer
        assert cfg.auto_scale_lr.base_batch_size == int(batch)
        assert (optimizer.lr, optimizer.weight_decay) == (float(rate), float(decay))
        assert list(cfg.model.backbone.window_size[2:]) == [int(side) for side in windows.split()]
        assert float(drop_paths.split(', ')[2]) == cfg.model.backbone.get('drop_path_rate', 0.2)


def test_the_channels_for_necks_and_heads_are_those_of_the_backbones():
    found = {name: channels for name, *channels in rows('from_swin.md', '') if 'Swin' not in name}
    assert len(found) == 5
    for names, channels in found.items():
        family, arches = names.split(' ', 1)
        for arch in arches.split(', '):
            with torch.device('meta'):
                backbone = dict(MambaVision=MambaVision, MambaOut=MambaOut)[family](arch)
            norms = [getattr(backbone, f'outnorm{i}') for i in range(4)]
            assert [norm.normalized_shape[0] for norm in norms] == list(map(int, channels))


def test_the_example_of_features_prints_the_shapes_that_it_states(capsys):
    text = (DOCS / 'from_swin.md').read_text()
    [code] = [each for each in re.findall(r'```python\n(.*?)```', text, re.S) if 'shape' in each]
    with torch.no_grad():
        exec(code, {})
    said = capsys.readouterr().out.splitlines()
    stated = re.search(r'# MambaVision: (.*), \.\.\.', code)[1]
    assert ', '.join(said[:2]) == stated
    assert len(said) == 8
