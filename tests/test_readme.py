"""The README is a promise: its examples work."""

import re
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmvision_mamba.config import load_config
from mmvision_mamba.datasets import draw_shapes
from mmvision_mamba.datasets.checking.before_training import check_data

ROOT = Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text()


def block_after(heading: str) -> str:
    return re.search(rf'{heading}.*?```python\n(.*?)```', README, re.DOTALL)[1]


def test_the_config_for_own_data_finds_it_and_builds_a_model_of_its_classes(tmp_path):
    import mmdet.models  # noqa: F401

    coco = draw_shapes(tmp_path / 'shapes', num_train=4, num_val=2) / 'coco'
    text = block_after('### Your own data')
    for old, new in {
        "'configs/": f"'{ROOT}/configs/",
        '/my/data/': f'{coco}/',
        "('bolt', 'nut')": "('circle', 'star')",
        "'train.json'": "'annotations/instances_train2017.json'",
        "'val.json'": "'annotations/instances_val2017.json'",
        'images/': 'train2017/',
    }.items():
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / 'own.py'
    path.write_text(text)
    cfg = load_config(str(path))
    check_data(cfg, ('train', 'val', 'test'))
    init_default_scope('mmdet')
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert model.roi_head.bbox_head.fc_cls.out_features == 3


def test_the_backbone_of_the_example_builds(tmp_path):
    path = tmp_path / 'example.py'
    path.write_text(block_after('## The backbones in your own config'))
    cfg = Config.fromfile(path)
    with torch.device('meta'):
        channels = [
            norm.normalized_shape[0]
            for name, norm in MODELS.build(cfg.model.backbone).named_children()
            if name.startswith('outnorm')
        ]
    assert channels == cfg.model.neck.in_channels


def test_every_file_it_links_to_exists():
    links = re.findall(r'\]\(([^)h#][^)]*)\)', README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
