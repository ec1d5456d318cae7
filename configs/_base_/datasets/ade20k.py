# ADE20K at 512 pixels, under data/ade or $MMVISION_DATA/ade.
# 'mmseg::' does not resolve: MMEngine looks for a distribution named mmsegmentation.
_base_ = __import__('mmseg').__path__[0] + '/.mim/configs/_base_/datasets/ade20k.py'

data_root = '{{$MMVISION_DATA:data}}/ade/ADEChallengeData2016'
# Whether 0 is unlabelled is the data set's to say (reduce_zero_label): True of ADE20KDataset.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(2048, 512), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='HistogramRandomCrop', crop_size=(512, 512), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='TablePhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(2048, 512), keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(batch_size=2, dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
