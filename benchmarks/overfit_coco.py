"""Proof that the real path learns: overfit 8 real COCO images with a small detector.

The whole path is the one of ``mask_rcnn_mambavision_t_coco.py`` (mmdet's CocoDataset, pipelines,
Mask R-CNN, COCO's metric); only the backbone is smaller, the images are shrunk, and training and
testing read the same 8. Needs COCO under data/coco or $MMVISION_DATA/coco.

    MMVISION_DATA=/path/to/data python benchmarks/overfit_coco.py
"""

import argparse
import json
import os
import time
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner
from recording import RESULTS, record

from mmvision_mamba.config import fit_to_machine

ROOT = Path(__file__).resolve().parents[1]


def write_subset(source: Path, target: Path, count: int) -> None:
    """Write the annotations of the first ``count`` images that hold 2 to 6 objects, no crowds."""
    content = json.loads(source.read_text())
    of_image = {}
    for annotation in content['annotations']:
        of_image.setdefault(annotation['image_id'], []).append(annotation)
    chosen = [
        image
        for image in sorted(content['images'], key=lambda image: image['id'])
        if 2 <= len(of_image.get(image['id'], [])) <= 6
        and not any(annotation['iscrowd'] for annotation in of_image[image['id']])
    ][:count]
    if len(chosen) < count:
        raise SystemExit(f'{source} has only {len(chosen)} fitting images of {count}')
    content['images'] = chosen
    content['annotations'] = [a for image in chosen for a in of_image[image['id']]]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(content))


def small_config(ann_file: Path, work_dir: Path, iterations: int) -> Config:
    cfg = Config.fromfile(ROOT / 'configs' / 'mask_rcnn_mambavision_t_coco.py')
    resize = dict(type='Resize', scale=(256, 192), keep_ratio=True)
    cfg.model.backbone.arch = dict(dim=32, in_dim=16, depths=(1, 2, 4, 2), num_heads=(1, 2, 4, 8))
    cfg.model.backbone.drop_path_rate = 0.0
    cfg.model.neck.in_channels = [32, 64, 128, 256]
    cfg.model.rpn_head.anchor_generator.scales = [4]
    cfg.model.train_cfg.rpn_proposal.update(nms_pre=500, max_per_img=200)
    cfg.model.train_cfg.rcnn.sampler.update(num=32, pos_fraction=0.5)
    cfg.model.roi_head.bbox_head.fc_out_channels = 256
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(num_workers=2, batch_size=4)
        loader.dataset.ann_file = str(ann_file.resolve())
        for transform in loader.dataset.pipeline:
            if transform.type == 'Resize':
                transform.update(resize)
    cfg.train_dataloader.sampler = dict(type='InfiniteSampler')
    cfg.val_evaluator.ann_file = cfg.test_evaluator.ann_file = str(ann_file.resolve())
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=iterations, val_interval=iterations)
    cfg.param_scheduler = [
        dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
        dict(type='CosineAnnealingLR', by_epoch=False, begin=0, end=iterations, eta_min=1e-6),
    ]
    cfg.optim_wrapper.optimizer.update(lr=6e-4)
    cfg.optim_wrapper.clip_grad = dict(max_norm=10)
    cfg.default_hooks.logger.interval = 25
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=iterations)
    cfg.log_processor.by_epoch = False
    cfg.randomness = dict(seed=0)
    cfg.work_dir = str(work_dir)
    fit_to_machine(cfg)
    return cfg


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--images', type=int, default=8)
    parser.add_argument('--iterations', type=int, default=400)
    parser.add_argument('--work-dir', type=Path, default=ROOT / 'work_dirs' / 'overfit_coco')
    args = parser.parse_args()
    data = Path(os.environ.get('MMVISION_DATA', 'data'))
    ann_file = args.work_dir / 'instances.json'
    write_subset(data / 'coco/annotations/instances_train2017.json', ann_file, args.images)
    cfg = small_config(ann_file, args.work_dir, args.iterations)
    for split in ('val', 'test'):
        cfg[f'{split}_dataloader'].dataset.data_prefix = dict(img='train2017/')
    start = time.time()
    runner = Runner.from_cfg(cfg)
    runner.train()
    seconds = time.time() - start
    metrics = runner.val_loop.run()
    result = dict(
        images=args.images,
        iterations=args.iterations,
        seconds=round(seconds),
        box_AP=metrics['coco/bbox_mAP'],
        mask_AP=metrics['coco/segm_mAP'],
    )
    record(RESULTS / 'overfit_coco.json', **result)
    print(json.dumps(result, indent=2))


if __name__ == '__main__':
    main()
