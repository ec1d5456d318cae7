# COCO instance segmentation at 640 pixels with RTMDet's mosaics and mixtures of images.
_base_ = './coco.py'

stock = __import__('mmengine').Config.fromfile(
    __import__('mmdet').__path__[0] + '/.mim/configs/rtmdet/rtmdet-ins_l_8xb32-300e_coco.py'
)
train_pipeline = stock.train_pipeline
tta_pipeline = stock.tta_pipeline
del stock
test_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='Resize', scale=(640, 640), keep_ratio=True),
    dict(type='Pad', size=(640, 640), pad_val=dict(img=(114, 114, 114))),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
# Images are of one size: nothing is to be grouped by shape.
train_dataloader = dict(batch_size=16, batch_sampler=None, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
