# What a published segmentor is tested and trained on further, on the reader's side: a data set in
# ADE20K's layout. ADE20KDataset itself would refuse other class names than its own.
_base_ = ['datasets/ade20k.py', 'schedules/ade20k_160k.py']

dataset = dict(type='BaseSegDataset', img_suffix='.jpg', seg_map_suffix='.png')
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
