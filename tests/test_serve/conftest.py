"""A page in front of two small models of random weights, for the tests of this folder."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from PIL import Image

from mmvision_mamba.config import load_config
from mmvision_mamba.datasets.shapes import ADE_METAINFO, COCO_METAINFO, draw_shapes
from mmvision_mamba.inference.predictor import Predictor
from mmvision_mamba.publishing import publish
from mmvision_mamba.serve.limits import Limits
from mmvision_mamba.serve.server import served

CONFIGS = Path(__file__).parents[2] / 'configs'
MODEL_NAMES = {
    'mask_rcnn_mambavision_demo_shapes': COCO_METAINFO,
    'upernet_mambaout_demo_shapes': ADE_METAINFO,
}
LIMITS = Limits(upload_bytes=4_000_000, pixels=3_000_000, queue=3)


class Watched:
    """A predictor that counts, and waits while it is held."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._free = threading.Event()
        self._free.set()
        self.task = predictor.task
        self.calls = self.running = self.most_running = 0

    def __call__(self, image):
        self.calls += 1
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            assert self._free.wait(60)
            return self._predictor(image)
        finally:
            self.running -= 1

    def hold(self) -> None:
        self._free.clear()

    def release(self) -> None:
        self._free.set()


class Renamed:
    """A predictor whose classes a stranger has named."""

    task = 'detection'
    names = ('<img src=x onerror=document.title=1>', '**bold** [a](http://x)', *['{{7*7}}'] * 3)

    def __init__(self, predictor: Watched) -> None:
        self._predictor = predictor

    def __call__(self, image):
        return replace(self._predictor(image), class_names=self.names)


@pytest.fixture(scope='session')
def published(tmp_path_factory) -> dict[str, Path]:
    """Published files of untrained models, the detector one of at most eight objects."""
    folder = tmp_path_factory.mktemp('published')
    files = {}
    for name, labels in MODEL_NAMES.items():
        cfg = load_config(str(CONFIGS / f'{name}.py'))
        if 'roi_head' in cfg.model:
            cfg.model.test_cfg.rcnn.max_per_img = 8
        torch.manual_seed(0)
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            model = MODELS.build(cfg.model)
        model.init_weights()
        state = model.state_dict()
        for key in state:
            if key.endswith('fc_cls.weight'):
                state[key] *= 5  # else all scores are alike
        checkpoint = dict(state_dict=state, meta=dict(dataset_meta=labels))
        files[name] = publish(cfg, checkpoint, {}, folder, name)
    return files


@pytest.fixture(scope='session')
def served_page(published):
    """The page, and its models by name."""
    models = {name: Watched(Predictor(str(file))) for name, file in published.items()}
    models['stranger'] = Renamed(next(iter(models.values())))
    with served(models, limits=LIMITS) as page:
        yield page


@pytest.fixture
def models(served_page) -> list[Watched]:
    """The detector and the segmentor, counting from zero."""
    watched = list(served_page.page.models.values())[:2]
    for model in watched:
        model.calls = model.most_running = 0
    yield watched
    for model in watched:
        model.release()


@pytest.fixture(scope='session')
def images(tmp_path_factory) -> dict[str, Path]:
    """Files to upload: what is taken, and what is not."""
    folder = tmp_path_factory.mktemp('images')
    drawn = draw_shapes(folder / 'shapes', num_train=0, num_val=2)
    first, second = sorted((drawn / 'coco' / 'val2017').glob('*.jpg'))
    text = folder / 'text.png'
    text.write_text('I am no image')
    large = folder / 'large.png'
    Image.new('1', (1501, 2000)).save(large)
    heavy = folder / 'heavy.png'
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), np.uint8)
    Image.fromarray(noise).save(heavy)
    return dict(image=first, other=second, text=text, large=large, heavy=heavy)
