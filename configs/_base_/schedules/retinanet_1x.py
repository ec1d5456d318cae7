# 12 epochs, the weight decay that of mmdet's RetinaNet on PVT.
_base_ = './coco_1x_boxes.py'

optim_wrapper = dict(optimizer=dict(weight_decay=1e-4))
