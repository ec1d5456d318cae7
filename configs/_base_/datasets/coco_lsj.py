# COCO instance segmentation with large-scale jitter: 0.1 to 2 times 1024 pixels, cropped to 1024.
_base_ = './coco.py'

stock = __import__('mmengine').Config.fromfile(
    __import__('mmdet').__path__[0]
    + '/.mim/configs/mask2former/mask2former_r50_8xb2-lsj-50e_coco.py'
)
load_image, load_annotations, *augmentation = stock.train_pipeline
del stock
train_pipeline = [load_image, load_annotations, dict(type='IndexMasks'), *augmentation]
del load_image, load_annotations, augmentation
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
