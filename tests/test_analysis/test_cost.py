"""What models cost: each part's time, and the numbers that need no timing."""

import time

import pytest
import torch
from mmengine.config import Config

from mmvision_mamba.analysis.cost import KINDS, measure_costs, recipe_size
from mmvision_mamba.analysis.flops import count_parameters
from mmvision_mamba.analysis.measuring import Stopwatch, added_bytes
from mmvision_mamba.analysis.parts import draw_scores, drawn_objects, part_spans, parts_of
from mmvision_mamba.checkpoints.meta_model import build_on_meta
from mmvision_mamba.errors import InputError
from mmvision_mamba.pairing import load_paired

DETECTOR = 'configs/mask_rcnn_mambavision_demo_shapes.py'
SEGMENTOR = 'configs/upernet_mambaout_demo_shapes.py'
RETINANET = 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py'
SIDE = 64


@pytest.fixture(scope='module')
def costs():
    configs = [
        ('detector', load_paired(DETECTOR, None)),
        ('segmentor', load_paired(SEGMENTOR, None)),
        ('paired', load_paired(RETINANET, 'mambaout_femto')),
    ]
    found = measure_costs(configs, (SIDE, SIDE), device=torch.device('cpu'), amp=None, rounds=1)
    return {cost.name: cost for cost in found}


def test_every_part_that_ran_has_a_time(costs):
    assert set(costs['detector'].parts) == {
        'data_preprocessor',
        'backbone',
        'neck',
        'rpn_head',
        *(
            f'roi_head.{kind}_{part}'
            for kind in ('bbox', 'mask')
            for part in ('head', 'roi_extractor')
        ),
        'post-processing',
    }
    # The auxiliary head does not run in testing.
    assert set(costs['segmentor'].parts) == {
        'data_preprocessor',
        'backbone',
        'decode_head',
        'post-processing',
    }
    assert {'backbone', 'neck', 'bbox_head'} < set(costs['paired'].parts)
    for cost in costs.values():
        assert all(value > 0 for value in cost.parts.values())


def test_the_kinds_are_all_of_the_parts(costs):
    for cost in costs.values():
        kinds = cost.by_kind()
        assert tuple(kinds) == KINDS
        assert sum(kinds.values()) == pytest.approx(sum(cost.parts.values()))
    assert costs['segmentor'].by_kind()['neck'] == 0


def test_parameters_and_memory_are_of_the_model(costs):
    for name, path in (('detector', DETECTOR), ('segmentor', SEGMENTOR)):
        parameters = count_parameters(build_on_meta(load_paired(path, None)))
        assert costs[name].parameters == parameters
        assert costs[name].memory_bytes > 4 * parameters
        assert costs[name].flops > 0


def test_a_model_without_a_backbone_is_refused_by_name():
    cfg = Config(dict(default_scope='mmdet', model=dict(type='mmdet.DetDataPreprocessor')))
    with pytest.raises(InputError, match=r'odd: mmdet\.DetDataPreprocessor has no backbone'):
        measure_costs([('odd', cfg)], (64, 64), device=torch.device('cpu'), amp=None, rounds=1)


@pytest.mark.parametrize(
    ('config', 'size'),
    [
        ('configs/mask_rcnn_mambavision_t_coco.py', (800, 1333)),
        ('configs/upernet_mambavision_l3_ade20k.py', (640, 640)),
        ('configs/rtmdet_ins_mambaout_tiny_coco.py', (640, 640)),
    ],
)
def test_a_recipes_size_is_what_its_images_are_brought_to(config, size):
    assert recipe_size(load_paired(config, None)) == size


def test_without_a_size_in_the_recipe_it_is_asked_for():
    with pytest.raises(InputError, match='give --size'):
        recipe_size(Config(dict(model=dict(), test_dataloader=None)))


def test_a_models_methods_are_its_own_again_afterwards():
    model = build_on_meta(load_paired(DETECTOR, None))
    with drawn_objects(model), part_spans(model, Stopwatch('cpu').span):
        assert 'forward' in vars(model.backbone)
    assert not [module for module in model.modules() if 'forward' in vars(module)]


def test_the_stages_of_a_cascade_are_one_part():
    model = build_on_meta(load_paired('configs/cascade_mask_rcnn_mambavision_t_coco.py', None))
    assert len(parts_of(model)['roi_head.bbox_head']) == 3


def test_one_region_in_four_is_given_a_drawn_class():
    drawn = draw_scores(torch.zeros(100, 81))
    assert torch.equal(drawn, draw_scores(torch.ones(100, 81)))
    probabilities = drawn.softmax(-1)[:, :-1]
    assert torch.allclose(drawn.softmax(-1).sum(-1), torch.ones(100))
    assert (probabilities.amax(-1) > 0.05).tolist() == [i % 4 == 0 for i in range(100)]


def test_a_span_has_what_is_not_of_a_span_within_it():
    watch = Stopwatch('cpu')
    start = time.perf_counter()
    with watch.span('outer'):
        time.sleep(0.01)
        with watch.span('inner'):
            time.sleep(0.02)
    elapsed = time.perf_counter() - start
    assert watch.seconds['outer'] >= 0.01
    assert watch.seconds['inner'] >= 0.02
    assert sum(watch.seconds.values()) <= elapsed


def test_added_memory_is_the_peak_and_not_the_sum():
    def call():
        for _ in range(3):
            torch.empty(1000, dtype=torch.uint8)

    assert 1000 <= added_bytes(call, 'cpu') < 2000
