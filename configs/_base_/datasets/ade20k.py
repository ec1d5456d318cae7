# ADE20K at 512 pixels, under data/ade or $MMVISION_DATA/ade.
# 'mmseg::' does not resolve: MMEngine looks for a distribution named mmsegmentation.
_base_ = __import__('mmseg').__path__[0] + '/.mim/configs/_base_/datasets/ade20k.py'

data_root = '{{$MMVISION_DATA:data}}/ade/ADEChallengeData2016'
train_dataloader = dict(batch_size=2, dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
