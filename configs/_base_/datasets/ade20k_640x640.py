# ADE20K at 640 pixels, under data/ade or $MMVISION_DATA/ade.
# 'mmseg::' does not resolve: MMEngine looks for a distribution named mmsegmentation.
_base_ = __import__('mmseg').__path__[0] + '/.mim/configs/_base_/datasets/ade20k_640x640.py'

data_root = '{{$MMVISION_DATA:data}}/ade/ADEChallengeData2016'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='RandomResize', scale=(2560, 640), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='HistogramRandomCrop', crop_size=(640, 640), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='TablePhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(batch_size=2, dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
