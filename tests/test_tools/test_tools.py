"""The command lines, as a user runs them, on drawn and on real images."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import mmdet
import numpy as np
import pytest
from PIL import Image

from mmvision_mamba.inference.drawing.annotate import drawing_scale
from mmvision_mamba.inference.drawing.sheets import captioned

pytestmark = pytest.mark.slow
CONFIGS = Path(__file__).parents[2] / 'configs'
TRAIN = CONFIGS.parent / 'tools' / 'train.py'
DETECTOR = CONFIGS / 'mask_rcnn_mambavision_demo_shapes.py'
SEGMENTOR = CONFIGS / 'upernet_mambaout_demo_shapes.py'
FEW_EPOCHS = (
    '--cfg-options',
    'train_cfg.max_epochs=2',
    'train_cfg.val_interval=1',
    'default_hooks.checkpoint.interval=1',
    'default_hooks.logger.interval=1',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
)
FEW_ITERATIONS = (
    '--cfg-options',
    'train_cfg.max_iters=4',
    'train_cfg.val_interval=2',
    'default_hooks.checkpoint.interval=2',
    'default_hooks.logger.interval=1',
)


def iterations(output):
    """(epoch or 0, iteration) of each logged training step."""
    return re.findall(r'(?:Epoch|Iter)\(train\)\s+(?:\[(\d+)\])?\[\s*(\d+)/', output)


def logged(done):
    return done.stdout + done.stderr


def drawn(folder):
    return names(folder / 'drawn')


def names(folder):
    return {path.stem for path in folder.iterdir()}


@pytest.fixture(scope='module')
def detector(shapes_data, tmp_path_factory):
    """Work dir of a detector trained for two epochs."""
    return train(tmp_path_factory.mktemp('detector'), DETECTOR, shapes_data, FEW_EPOCHS)


@pytest.fixture(scope='module')
def segmentor(shapes_data, tmp_path_factory):
    return train(tmp_path_factory.mktemp('segmentor'), SEGMENTOR, shapes_data, FEW_ITERATIONS)


def train(folder, config, data, options):
    subprocess.run(
        [sys.executable, TRAIN, config, '--seed', '1', '--work-dir', folder, *options],
        env=dict(os.environ, MMVISION_DATA=str(data)),
        check=True,
        capture_output=True,
        cwd=folder,
    )
    return folder


def test_a_detector_is_tested_per_class_with_predictions_and_images(
    detector, shapes_data, run_tool, tmp_path
):
    done = run_tool(
        'test.py',
        DETECTOR,
        detector / 'epoch_2.pth',
        '--out',
        'results',
        '--show-dir',
        'drawn',
        data=shapes_data,
    )
    for metric in ('bbox_mAP', 'bbox_mAP_50', 'segm_mAP_75', 'segm_mAP_s', 'segm_mAP_l'):
        assert f'coco/{metric}:' in logged(done)
    assert '| triangle ' in logged(done)
    for kind in ('bbox', 'segm'):
        assert isinstance(json.loads((tmp_path / f'results.{kind}.json').read_text()), list)
    assert drawn(tmp_path) == names(shapes_data / 'shapes/coco/val2017')


def test_a_segmentor_is_tested_per_class_with_predictions_and_images(
    segmentor, shapes_data, run_tool, tmp_path
):
    done = run_tool(
        'test.py',
        SEGMENTOR,
        segmentor / 'iter_4.pth',
        '--out',
        'maps',
        '--show-dir',
        'drawn',
        data=shapes_data,
    )
    assert all(metric in logged(done) for metric in ('aAcc:', 'mIoU:', 'mAcc:', '| triangle '))
    maps = sorted((tmp_path / 'maps').glob('*.png'))
    assert len(maps) == 4
    image = next((shapes_data / 'shapes/ADEChallengeData2016/images/validation').glob('*1.jpg'))
    assert Image.open(maps[0]).size == Image.open(image).size
    assert drawn(tmp_path) == names(shapes_data / 'shapes/ADEChallengeData2016/images/validation')


@pytest.mark.parametrize('task', ['detector', 'segmentor'])
def test_tta_gives_all_metrics_and_draws_the_truth(task, shapes_data, run_tool, request, tmp_path):
    folder = request.getfixturevalue(task)
    config, name, metric, images = {
        'detector': (DETECTOR, 'epoch_2.pth', 'coco/segm_mAP:', 'coco/val2017/*.jpg'),
        'segmentor': (SEGMENTOR, 'iter_4.pth', 'mIoU:', '*/images/validation/*.jpg'),
    }[task]
    args = (config, folder / name, '--tta', '--show-dir', 'drawn')
    done = run_tool('test.py', *args, data=shapes_data)
    assert metric in logged(done)
    # The config of a training there stays: it is of the model without augmentation.
    assert not list((tmp_path / 'work_dirs').glob('*/*.py'))
    assert re.search(r'(Epoch|Iter)\(test\) +\[1/\d\]  images/s: \S+  eta: ', logged(done))
    originals = sorted((shapes_data / 'shapes').glob(images))
    assert drawn(tmp_path) == {path.stem for path in originals}
    for original in originals:
        both = np.asarray(Image.open(tmp_path / 'drawn' / f'{original.stem}.png').convert('RGB'))
        image = np.asarray(Image.open(original).convert('RGB'))
        scale = drawing_scale(image.shape[:2])
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        bar = len(captioned(image, 'truth')) - len(image)
        truth = both[bar:, : image.shape[1]][: len(image)].astype(int)
        assert both.shape[1] == 2 * image.shape[1] + 8
        assert 0.01 < (abs(truth - image) > 32).mean() < 0.9


def test_images_without_a_prediction_over_the_threshold_are_counted(
    detector, shapes_data, run_tool
):
    never = ('--cfg-options', 'default_hooks.visualization.score_thr=1.0')
    args = (DETECTOR, detector / 'epoch_2.pth', '--show-dir', 'drawn', *never)
    done = run_tool('test.py', *args, data=shapes_data)
    assert '4 of 4 images are drawn without a prediction: none scores above 1.0' in logged(done)


def test_training_resumes_where_it_stopped(detector, shapes_data, run_tool, tmp_path):
    work_dir = tmp_path / 'run'
    shutil.copytree(detector, work_dir)
    (work_dir / 'epoch_2.pth').unlink()
    (work_dir / 'last_checkpoint').write_text('epoch_1.pth')
    done = run_tool(
        'train.py', DETECTOR, '--work-dir', work_dir, '--resume', *FEW_EPOCHS, data=shapes_data
    )
    steps = iterations(logged(done))
    assert steps
    assert {epoch for epoch, _ in steps} == {'2'}
    assert (work_dir / 'epoch_2.pth').is_file()


def test_resume_in_an_empty_folder_says_that_it_starts_a_run(shapes_data, run_tool):
    done = run_tool(
        'train.py',
        SEGMENTOR,
        '--resume',
        '--auto-scale-lr',
        '--amp',
        '--verbose',
        *FEW_ITERATIONS,
        data=shapes_data,
    )
    assert 'no run has begun' in logged(done)
    assert 'Scaling the original LR by 0.5' in logged(done)


def test_fine_tuning_keeps_the_backbone_and_may_change_a_head(detector, shapes_data, run_tool):
    wider = 'model.roi_head.bbox_head.fc_out_channels=300'
    load_from = f'load_from={detector / "epoch_2.pth"}'
    done = run_tool('train.py', DETECTOR, *FEW_EPOCHS, load_from, wider, data=shapes_data)
    assert f'weights    fine-tuned from {detector / "epoch_2.pth"}' in logged(done)


def test_two_processes_train_and_test_together(shapes_data, run_tool, tmp_path):
    done = run_tool(
        'dist_train.sh', SEGMENTOR, 2, '--work-dir', 'run', *FEW_ITERATIONS, data=shapes_data
    )
    assert 'device     CPU, 2 processes' in logged(done) or '2 x ' in logged(done)
    assert logged(done).count('device     ') == 1  # the first process alone prints
    assert (tmp_path / 'run' / 'iter_4.pth').is_file()
    done = run_tool(
        'dist_test.sh', SEGMENTOR, 'run/iter_4.pth', 2, '--work-dir', 'run', data=shapes_data
    )
    assert 'mIoU:' in logged(done)


def test_mmdets_own_tools_and_inferencer_take_a_config_from_any_folder(
    shapes_data, run_tool, tmp_path
):
    tools = Path(mmdet.__file__).parent / '.mim' / 'tools'
    run_tool(str(tools / 'train.py'), DETECTOR, '--work-dir', 'run', *FEW_EPOCHS, data=shapes_data)
    done = run_tool(str(tools / 'test.py'), DETECTOR, 'run/epoch_2.pth', data=shapes_data)
    assert 'coco/segm_mAP:' in logged(done)

    from mmdet.apis import DetInferencer

    inferencer = DetInferencer(str(DETECTOR), str(tmp_path / 'run' / 'epoch_2.pth'), device='cpu')
    image = next((shapes_data / 'shapes' / 'coco' / 'val2017').glob('*.jpg'))
    predictions = inferencer(str(image))['predictions'][0]
    assert set(predictions) >= {'labels', 'scores', 'bboxes', 'masks'}


def test_mmsegs_own_inferencer_takes_a_config(segmentor, shapes_data):
    from mmseg.apis import inference_model, init_model

    model = init_model(str(SEGMENTOR), str(segmentor / 'iter_4.pth'), device='cpu')
    image = next((shapes_data / 'shapes/ADEChallengeData2016/images/validation').glob('*.jpg'))
    assert inference_model(model, str(image)).pred_sem_seg.data.shape[0] == 1


@pytest.mark.parametrize(
    ('tool', 'args', 'message'),
    [
        ('train.py', ['nowhere.py'], 'config nowhere.py does not exist'),
        (
            'train.py',
            [CONFIGS / 'mask_rcnn_mambavision_t_coco.py'],
            "the data folder 'data/coco' does not exist",
        ),
        (
            'train.py',
            [DETECTOR, '--cfg-options', 'model.nck.x=1'],
            "model has no 'nck'; it has neck",
        ),
        (
            'train.py',
            [SEGMENTOR, '--cfg-options', 'model.backbone.type=MambaOat'],
            'MambaOat is not in the mmseg::model registry; did you mean MambaOut',
        ),
        (
            'train.py',
            [SEGMENTOR, '--cfg-options', 'model.backbone.drop_rate=0.1'],
            "unexpected keyword argument 'drop_rate'; MambaOut takes arch, in_channels, drop_path",
        ),
        (
            'train.py',
            [SEGMENTOR, '--cfg-options', 'model.backbone.drop_path_rate=7'],
            'error: model.backbone (MambaOut): drop_path_rate must be in [0, 1), got 7',
        ),
        (
            'train.py',
            [SEGMENTOR, '--cfg-options', 'optim_wrapper.optimizer.type=AdmW'],
            'optim_wrapper.optimizer: AdmW is not an optimizer; did you mean AdamW',
        ),
        (
            'train.py',
            [SEGMENTOR, '--cfg-options', 'train_dataloader.batch_size=0'],
            'batch_size should be a positive integer value, but got batch_size=0',
        ),
        (
            'train.py',
            [SEGMENTOR, '--work-dir', '/proc/mmvision_mamba'],
            "'/proc/mmvision_mamba'",
        ),
        ('train.py', [SEGMENTOR, '--cfg-options', 'amp'], '--cfg-options amp: not of the form KEY'),
        ('test.py', [DETECTOR, 'nowhere.pth'], 'checkpoint nowhere.pth does not exist'),
    ],
)
def test_a_mistake_ends_in_one_line_and_status_2(tool, args, message, run_tool, tmp_path):
    done = run_tool(tool, *args, data=None if 'coco.py' in str(args) else tmp_path, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert 'Traceback' not in done.stderr


def test_a_checkpoint_of_another_model_is_refused(detector, segmentor, shapes_data, run_tool):
    done = run_tool('test.py', DETECTOR, segmentor / 'iter_4.pth', data=shapes_data, check=False)
    assert done.returncode == 2
    assert re.search(
        r'iter_4.pth is not of this model: of \d+ tensors, \d+ are missing', done.stderr
    )
    done = run_tool(
        'train.py', SEGMENTOR, '--resume', detector / 'epoch_2.pth', data=shapes_data, check=False
    )
    assert done.returncode == 2
    assert 'epoch_2.pth is not of this model' in done.stderr
