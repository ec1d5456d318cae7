# The embedded data set in ADE20K's format, drawn on first use under data/shapes or
# $MMVISION_DATA/shapes.
_base_ = './ade20k.py'

data_root = '{{$MMVISION_DATA:data}}/shapes/ADEChallengeData2016'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='HistogramRandomCrop', crop_size=(128, 128), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
# ADE20KDataset itself refuses other class names than its own; this is what it adds its names to.
drawn = dict(
    type='DrawnShapes', dataset_type='BaseSegDataset', reduce_zero_label=True, data_root=data_root
)
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(pipeline=train_pipeline, **drawn),
)
val_dataloader = dict(num_workers=2, dataset=dict(pipeline=test_pipeline, **drawn))
test_dataloader = val_dataloader
