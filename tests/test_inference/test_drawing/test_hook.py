from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData, PixelData
from PIL import Image

from mmvision_mamba.inference.drawing import hook as drawing_hook
from mmvision_mamba.inference.drawing.colors import palette_for

METAINFO = dict(classes=('circle', 'Käfer'), palette=[(1, 2, 3), (40, 50, 60)])


@pytest.fixture
def drawn(tmp_path):
    """Draw a sample of an image of 480 x 640; returns the drawing and what was logged."""

    def drawn(sample, **options):
        path = tmp_path / 'images/sub/x.jpg'
        path.parent.mkdir(parents=True)
        Image.new('RGB', (640, 480), (128, 128, 128)).save(path)
        sample.set_metainfo(dict(img_path=str(path), ori_shape=(480, 640)))
        dataset = SimpleNamespace(metainfo=METAINFO, data_prefix=dict(img=str(tmp_path / 'images')))
        logged = []
        runner = SimpleNamespace(
            test_dataloader=SimpleNamespace(dataset=dataset),
            logger=SimpleNamespace(warning=logged.append),
        )
        hook = drawing_hook.DrawingHook(str(tmp_path / 'drawn'), **options)
        hook.after_test_iter(runner, 0, outputs=[sample])
        hook.after_test_epoch(runner)
        return np.asarray(Image.open(tmp_path / 'drawn/sub/x.png')).astype(int), logged

    return drawn


def test_truth_is_on_the_left_and_prediction_on_the_right(drawn):
    from mmdet.structures import DetDataSample
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks

    mask = np.zeros((1, 480, 640), np.uint8)
    mask[0, 100:200, 100:200] = 1
    truth = InstanceData(
        bboxes=HorizontalBoxes([[100.0, 100, 200, 200]]),
        labels=torch.tensor([0]),
        masks=BitmapMasks(mask, 480, 640),
    )
    found = InstanceData(
        bboxes=torch.tensor([[300.0, 300, 400, 400], [0, 0, 50, 50]]),
        labels=torch.tensor([1, 1]),
        scores=torch.tensor([0.8, 0.2]),
    )
    drawing, logged = drawn(DetDataSample(gt_instances=truth, pred_instances=found))
    assert drawing.shape[1] == 640 + 8 + 640
    truth_side, found_side = drawing[-480:, :640], drawing[-480:, -640:]
    middle = 64 + palette_for(1)[0] / 2
    np.testing.assert_allclose(truth_side[150, 150], middle, atol=2)
    assert abs(truth_side[250:] - 128).max() < 9
    assert abs(found_side[350, 300] - palette_for(2)[1]).max() == 0
    assert abs(found_side[:250] - 128).max() < 9  # what scores less is left out
    assert not logged


def test_an_image_of_nothing_over_the_threshold_is_counted(drawn):
    from mmdet.structures import DetDataSample

    none = InstanceData(
        bboxes=torch.tensor([[0.0, 0, 9, 9]]), labels=torch.tensor([0]), scores=torch.tensor([0.5])
    )
    drawing, logged = drawn(DetDataSample(pred_instances=none), score_thr=0.5)
    assert drawing.shape[1] == 640
    assert '1 of 1 images are drawn without a prediction: none scores above 0.5' in logged[0]


def test_label_maps_have_the_colors_of_their_data_set(drawn):
    from mmseg.structures import SegDataSample

    truth = torch.zeros(1, 480, 640, dtype=torch.uint8)
    truth[:, 240:] = 255
    found = torch.ones(1, 480, 640, dtype=torch.int64)
    drawing, _ = drawn(
        SegDataSample(gt_sem_seg=PixelData(data=truth), pred_sem_seg=PixelData(data=found))
    )
    below = drawing.shape[0] - 10  # the caption and the legend are as high for both
    assert drawing.shape[1] == 640 + 8 + 640
    assert abs(drawing[100, 20] - (64 + np.array((1, 2, 3)) / 2)).max() < 5
    assert abs(drawing[400, 20] - 128).max() < 5
    assert abs(drawing[400, 700] - (64 + np.array((40, 50, 60)) / 2)).max() < 5
    assert (drawing[below - 10 :, 648:] == (40, 50, 60)).all(axis=-1).any()
