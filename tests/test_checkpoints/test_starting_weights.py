import pytest
import torch
from mmengine.config import Config

from mmvision_mamba.checkpoints.starting_weights import start_from
from mmvision_mamba.errors import InputError


@pytest.fixture
def cfg() -> Config:
    return Config(dict(model=dict(backbone=dict(type='MambaVision')), default_hooks=dict()))


def saved(path, *names: str) -> str:
    torch.save(dict(state_dict={name: torch.zeros(2) for name in names}), path)
    return str(path)


def test_weights_of_a_backbone_are_its_start(cfg, tmp_path):
    for number, names in enumerate((('stem.weight',), ('backbone.stem.weight',))):
        path = saved(tmp_path / f'{number}.pth', *names)
        start_from(cfg, path)
        assert cfg.model.backbone.init_cfg == dict(type='Pretrained', checkpoint=path)
        assert 'load_from' not in cfg


def test_weights_of_a_whole_model_are_loaded_over_all_but_the_class_layers(cfg, tmp_path):
    path = saved(tmp_path / 'model.pth', 'backbone.stem.weight', 'roi_head.fc_cls.weight')
    start_from(cfg, path)
    assert cfg.load_from == path
    assert cfg.default_hooks.checkpoint_match.other_classes
    assert 'init_cfg' not in cfg.model.backbone


def test_what_is_nowhere_is_said_with_names_that_are_close(cfg):
    with pytest.raises(InputError, match='did you mean mambavision_t'):
        start_from(cfg, 'mambavision_t.in2k')


def test_without_network_it_is_said_where_to_put_which_file(cfg, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    with pytest.raises(InputError) as caught:
        start_from(cfg, 'cascade_mask_rcnn_mambavision_t_coco')
    assert str(tmp_path / 'hub' / 'checkpoints' / 'cascade_mask_rcnn') in str(caught.value)


def test_a_file_without_weights_is_refused(cfg, tmp_path):
    torch.save(dict(epoch=1), tmp_path / 'none.pth')
    with pytest.raises(InputError, match='holds no weights'):
        start_from(cfg, str(tmp_path / 'none.pth'))
