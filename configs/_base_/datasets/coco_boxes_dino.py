# COCO detection with DINO's augmentation, which is DETR's, and with images without objects.
_base_ = './coco_boxes.py'

stock = __import__('mmengine').Config.fromfile(
    __import__('mmdet').__path__[0] + '/.mim/configs/dino/dino-4scale_r50_8xb2-12e_coco.py'
)
train_pipeline = stock.train_pipeline
del stock
train_dataloader = dict(
    dataset=dict(filter_cfg=dict(filter_empty_gt=False), pipeline=train_pipeline)
)
