# What a published detector is tested and trained on further, on the reader's side: COCO.
_base_ = ['datasets/coco.py', 'schedules/coco_1x.py']
