"""Curves are read from the logs of all starts of a run."""

import json
import math

import numpy as np
import pytest

from mmvision_mamba.analysis.curves import draw_comparison, draw_run, save, smooth
from mmvision_mamba.analysis.run_logs import Curve, note_start, read_run
from mmvision_mamba.errors import InputError


def train(iteration, epoch=1, **scalars):
    return dict(scalars, time=0.1, epoch=epoch, iter=iteration, step=iteration)


def val(step, **metrics):
    return dict(metrics, data_time=0.01, time=0.1, step=step)


def write(work_dir, start, *lines, end=''):
    folder = work_dir / start / 'vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text('\n'.join(map(json.dumps, lines)) + '\n' + end)


def points(curve):
    return list(zip(curve.iterations, curve.values))


def test_a_resumed_run_replaces_what_came_after_its_checkpoint(tmp_path):
    write(tmp_path, '20260102_000000', train(5, loss=9.0), train(6, loss=8.0), val(6, mIoU=41.0))
    write(
        tmp_path,
        '20260101_000000',
        *(train(i, loss=10.0 - i / 10) for i in range(1, 8)),
        val(4, mIoU=40.0),
        val(8, mIoU=39.0),
    )
    log = read_run(tmp_path)
    assert log.starts == 2
    assert points(log['loss']) == [(1, 9.9), (2, 9.8), (3, 9.7), (4, 9.6), (5, 9.0), (6, 8.0)]
    assert points(log['mIoU']) == [(6, 41.0)]


def test_starts_go_by_their_order_and_not_by_their_local_time(tmp_path):
    """As where a run goes on west of where it began, or after the clock was set back."""
    write(tmp_path, '20260101_090000', *(train(i, loss=10.0 - i) for i in range(1, 8)))
    note_start(tmp_path, '20260101_090000', 0)
    write(tmp_path, '20260101_060000', train(5, loss=1.0), train(6, loss=2.0))
    note_start(tmp_path, '20260101_060000', 4)
    write(tmp_path, '20251231_000000', train(7, loss=3.0))
    note_start(tmp_path, '20251231_000000', 6)
    log = read_run(tmp_path)
    assert log.starts == 3
    assert points(log['loss']) == [*((i, 10.0 - i) for i in range(1, 5)), (5, 1), (6, 2), (7, 3)]


def test_what_was_measured_behind_the_checkpoint_gone_back_to_is_replaced(tmp_path):
    write(tmp_path, 'a', train(2, loss=3.0), train(4, loss=2.0), val(4, mIoU=9.0, aAcc=1.0))
    note_start(tmp_path, 'a', 0)
    # Its first line in the log comes after that validation.
    write(tmp_path, 'b', train(6, loss=1.0))
    note_start(tmp_path, 'b', 3)
    log = read_run(tmp_path)
    assert points(log['loss']) == [(2, 3.0), (6, 1.0)]
    assert not log.metrics  # not even their names are left


def test_starts_of_which_nothing_is_written_down_come_first_by_their_time(tmp_path):
    write(tmp_path, '20260102_000000', train(2, loss=2.0), train(3, loss=0.0))
    write(tmp_path, '20260101_000000', train(1, loss=3.0))
    write(tmp_path, '20250101_000000', train(3, loss=1.0))
    note_start(tmp_path, '20250101_000000', 2)
    assert points(read_run(tmp_path)['loss']) == [(1, 3.0), (2, 2.0), (3, 1.0)]


def test_a_damaged_order_of_starts_is_named(tmp_path):
    write(tmp_path, 'a', train(1, loss=3.0))
    (tmp_path / 'starts.json').write_text('[{')
    with pytest.raises(InputError, match=r'starts\.json is not JSON'):
        read_run(tmp_path)


def test_metrics_logged_by_epoch_stand_where_that_epoch_ended(tmp_path):
    by_epoch = [train(10, loss=3.0), val(1, mAP=0.1), train(20, epoch=2, loss=2.0), val(2, mAP=0.2)]
    by_iteration = [train(10, loss=3.0), val(12, mAP=0.1), train(20, loss=2.0), val(24, mAP=0.2)]
    write(tmp_path / 'epochs', 'start', *by_epoch)
    write(tmp_path / 'iterations', 'start', *by_iteration)
    assert read_run(tmp_path / 'epochs')['mAP'].iterations == [10, 20]
    assert read_run(tmp_path / 'iterations')['mAP'].iterations == [12, 24]


def test_the_unfinished_line_of_a_killed_run_is_passed_over(tmp_path):
    write(tmp_path, 'start', train(1, loss=3.0), end='{"loss": 2.0, "ti')
    assert points(read_run(tmp_path)['loss']) == [(1, 3.0)]


def test_a_damaged_line_amid_others_is_named(tmp_path):
    write(tmp_path, 'start', train(1, loss=3.0), end='{"loss": 2.0, "ti\n{"iter": 3}\n')
    with pytest.raises(InputError, match=r'line 2 of .*scalars\.json is not JSON'):
        read_run(tmp_path)


@pytest.mark.parametrize('lines', [None, [], [val(0, mIoU=1.0)]])
def test_a_folder_without_training_logs_is_named(lines, tmp_path):
    if lines is not None:
        write(tmp_path, 'start', *lines)
    with pytest.raises(InputError, match='no training is logged in'):
        read_run(tmp_path)


def test_the_best_is_the_first_of_the_highest_and_never_nan():
    curve = Curve([1, 2, 3, 4], [math.nan, 2.0, 3.0, 3.0])
    assert curve.best() == (3, 3.0)
    assert curve.best(lowest=True) == (2, 2.0)
    assert Curve([1], [math.nan]).best() is None


def test_cocos_minus_one_is_no_score(tmp_path):
    write(tmp_path, 'start', train(1, loss=3.0), val(1, **{'coco/bbox_mAP_l': -1.0}))
    assert read_run(tmp_path)['coco/bbox_mAP_l'].best() is None


def test_main_metrics_are_told_from_their_parts(tmp_path):
    metrics = {'coco/bbox_mAP': 0.4, 'coco/bbox_mAP_50': 0.6, 'coco/segm_mAP': 0.3}
    write(tmp_path, 'start', train(1, loss_cls=1.0, loss=3.0, lr=0.1), val(1, **metrics))
    log = read_run(tmp_path)
    assert log.main_metrics() == ['coco/bbox_mAP', 'coco/segm_mAP']
    assert log.parts('coco/bbox_mAP') == ['coco/bbox_mAP_50']
    assert log.losses() == ['loss', 'loss_cls']


def test_smoothing_keeps_levels_and_removes_noise():
    assert smooth([2.0] * 100) == pytest.approx([2.0] * 100)
    noisy = np.resize([1.0, 3.0], 100)
    assert np.ptp(smooth(noisy)[10:-10]) < 1
    assert smooth([1.0, 5.0, 2.0]) == pytest.approx([1.0, 5.0, 2.0])


def test_a_run_is_drawn_with_losses_rate_and_metrics_even_where_it_diverged(tmp_path):
    metrics = {'coco/bbox_mAP': 0.4, 'coco/bbox_mAP_50': 0.6, 'coco/bbox_mAP_l': -1.0}
    lines = [train(i, loss=math.nan if i > 3 else 4.0 - i, loss_cls=1.0, lr=0.1) for i in range(6)]
    write(tmp_path, 'start', *lines, val(5, **metrics))
    log = read_run(tmp_path)
    figure = draw_run(log, 'diverged')
    assert [ax.get_ylabel() for ax in figure.axes] == ['loss', 'learning rate', 'validation']
    labels = [line.get_label() for line in figure.axes[2].lines]
    assert labels == ['coco/bbox_mAP\nbest 0.4 at 5', 'coco/bbox_mAP_50', 'coco/bbox_mAP_l']
    save(figure, tmp_path / 'curves.png')
    save(draw_comparison({'one': log, 'other': log}, ['loss']), tmp_path / 'both.pdf')
    with pytest.raises(InputError, match=r'curves\.txt: images are written as .*png'):
        save(figure, tmp_path / 'curves.txt')
