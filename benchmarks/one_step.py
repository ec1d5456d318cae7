"""One prediction and one training step of a config's model on small made-up images, on the CPU.

In this order: a step at the full learning rate of a recipe that warms up may throw boxes out of
the image.
"""

import copy
import math

import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import PixelData
from torch import nn
from torch.optim import SGD

from mmvision_mamba.config import fit_to_machine

# Pixels of an image's sides. The larger is for models that count on maps of some size, as those
# that pick their queries out of a map's tokens, or convolve the smallest without padding.
SIDES = (128, 384)
_BATCH = 2
# Of an image, at most: a head of regions takes most of the time, and as much for each.
_REGIONS = 64


def build(cfg: Config, side: int) -> nn.Module:
    """The model that a config trains; of a tracker or of semi-supervised training, its detector.

    Args:
        cfg: Changed in place in what depends on the size of the images, or needs a GPU.
        side: Of the images that will be given.
    """
    if 'backbone' not in cfg.model:
        cfg.model = cfg.model.detector
    preprocessor = cfg.model.setdefault('data_preprocessor', dict(type='DetDataPreprocessor'))
    preprocessor.pop('batch_augments', None)
    if 'size' in preprocessor:
        preprocessor.size = (side, side)
    _fit_to_small_images(cfg.model)
    fit_to_machine(cfg)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(cfg.model))  # some change what they are built of
    model.init_weights()
    return model


def _fit_to_small_images(node: dict | list | tuple) -> None:
    """Change, in place, below a node of a config, what asks for much: regions, and weights.

    No more than some regions of an image are proposed, trained with and answered with; no weights
    are downloaded.
    """
    if isinstance(node, dict):
        # What tells those whose number is free: of all that nms leaves, and of a sampler.
        for mark, option in (('nms', 'max_per_img'), ('pos_fraction', 'num')):
            if mark in node and option in node:
                node[option] = min(node[option], _REGIONS)
        for option in filter(node.__contains__, ('pretrained', 'teacher_ckpt')):
            node[option] = None
        if 'Pretrained' in str(node.get('init_cfg')):
            node['init_cfg'] = None
    for child in node.values() if isinstance(node, dict) else node:
        if isinstance(child, dict | list | tuple):
            _fit_to_small_images(child)


def train_step(cfg: Config, model: nn.Module, side: int) -> float:
    """One step of the config's own optimizer; returns the loss before it.

    Raises:
        ArithmeticError: The loss is not finite, or no gradient reached the backbone.
    """
    for count in ('iter', 'epoch'):  # as MMEngine's hooks do
        MessageHub.get_current_instance().update_info(count, 0)
    torch.manual_seed(0)
    if cfg.get('optim_wrapper'):
        optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    else:
        optimizer = OptimWrapper(SGD(model.parameters(), lr=1e-3))
    before = [p.detach().clone() for p in model.backbone.parameters()]
    model.train()
    loss = model.train_step(_data(cfg, side, _BATCH), optimizer)['loss'].item()
    if not math.isfinite(loss):
        raise ArithmeticError(f'the loss is {loss}')
    if all(torch.equal(old, new) for old, new in zip(before, model.backbone.parameters())):
        raise ArithmeticError('no gradient reached the backbone')
    return loss


def predict(cfg: Config, model: nn.Module, side: int) -> list:
    """The result of one image, or of one video."""
    model.eval()
    with torch.no_grad():
        return model.test_step(_data(cfg, side, 1))


def _data(cfg: Config, side: int, count: int) -> dict:
    shape = (3, side, side)
    if cfg.default_scope == 'mmseg':
        return _images_with_labels(shape, count)
    from mmdet.testing import demo_mm_inputs, demo_mm_proposals, demo_track_inputs

    if cfg.model.data_preprocessor.type == 'TrackDataPreprocessor':
        return demo_track_inputs(num_frames=2, image_shapes=shape, num_classes=1, with_mask=True)
    data = demo_mm_inputs(
        count,
        shape,
        num_items=[2] * count,
        num_classes=2,
        # HTC's labels of pixels are of an eighth of the image's size.
        sem_seg_output_strides=8 if 'semantic_head' in cfg.model.get('roi_head', {}) else 1,
        with_mask=_loads_masks(cfg),
        with_semantic=True,
        use_box_type=True,
    )
    for sample in data['data_samples']:
        sample.gt_instances.labels.zero_()  # which every model has
        if cfg.model.type == 'FastRCNN':
            (sample.proposals,) = demo_mm_proposals([shape], 20)
    return data


def _loads_masks(cfg: Config) -> bool:
    """Whether a config trains on masks, or does not say: some that do not, fail on them."""
    return 'train_dataloader' not in cfg or "'with_mask': True" in str(cfg.train_dataloader)


def _images_with_labels(shape: tuple[int, int, int], count: int) -> dict:
    from mmseg.structures import SegDataSample

    random = torch.Generator().manual_seed(0)
    samples, size = [], shape[1:]
    for _ in range(count):
        sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size))
        labels = torch.randint(2, (1, *size), generator=random)
        samples.append(sample.set_data(dict(gt_sem_seg=PixelData(data=labels))) or sample)
    images = [torch.randint(256, shape, generator=random, dtype=torch.uint8) for _ in samples]
    return dict(inputs=images, data_samples=samples)
