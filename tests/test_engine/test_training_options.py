from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.logging import MessageHub

from mmvision_mamba.engine import EarlyStopHook
from mmvision_mamba.engine.training_options import average_weights, stop_early
from mmvision_mamba.errors import InputError


def config(save_best: str | None = 'coco/bbox_mAP', **train_cfg) -> Config:
    hooks = dict(checkpoint=dict(type='DurableCheckpointHook', save_best=save_best))
    return Config(dict(default_hooks=hooks, train_cfg=train_cfg, val_dataloader=dict(a=1)))


@pytest.mark.parametrize(('iterations', 'momentum'), [(1500, 1 / 150), (10**6, 1 / 5000), (2, 0.5)])
def test_an_average_reaches_over_a_tenth_of_the_run(iterations, momentum):
    cfg = config(max_iters=iterations)
    average_weights(cfg)
    assert cfg.default_hooks.ema.momentum == pytest.approx(momentum)


def test_what_cannot_be_watched_is_refused():
    for cfg in (config(save_best=None), config(save_best='auto')):
        with pytest.raises(InputError, match='save_best'):
            stop_early(cfg, 5)
    with pytest.raises(InputError, match='--early-stop 0'):
        stop_early(config(), 0)


@pytest.mark.parametrize(('score', 'rise'), [('coco/bbox_mAP', 0.001), ('mIoU', 0.1)])
def test_the_least_rise_is_in_the_scores_own_measure(score, rise):
    cfg = config(save_best=score)
    stop_early(cfg, 3)
    assert (cfg.default_hooks.early_stop.min_delta, cfg.default_hooks.early_stop.patience) == (
        rise,
        3,
    )


class Run:
    """Validations, one after the other, of a hook and its runner."""

    def __init__(self, name: str) -> None:
        self.hub = MessageHub.get_instance(name)
        self.start()

    def start(self) -> None:
        self.hook = EarlyStopHook(monitor='AP', rule='greater', min_delta=0.001, patience=2)
        self.runner = SimpleNamespace(
            message_hub=self.hub,
            train_loop=SimpleNamespace(stop_training=False),
            iter=7,
            logger=SimpleNamespace(info=lambda text: None),
        )
        self.hook.before_train(self.runner)

    def stops_at(self, scores: list[float]) -> int | None:
        for number, score in enumerate(scores):
            self.hook.after_val_epoch(self.runner, dict(AP=score))
            if self.runner.train_loop.stop_training:
                return number
        return None


def test_training_ends_where_the_score_no_longer_rises():
    assert Run('rises').stops_at([0.1, 0.2, 0.2, 0.2005, 0.3]) == 3


def test_a_detector_that_has_found_nothing_yet_is_not_stopped():
    assert Run('nothing').stops_at([0, 0, 0, 0, 0, 0.1, 0.1, 0.1]) == 7


def test_a_resumed_run_counts_on():
    run = Run('resumed')
    assert run.stops_at([0.1, 0.2, 0.2]) is None
    run.start()
    assert run.stops_at([0.2]) == 0
