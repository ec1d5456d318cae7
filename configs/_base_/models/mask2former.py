# Mask2Former for instances; a config adds the backbone and the head's in_channels.
# mmdet has no base of the model alone, and MMEngine takes a config that imports for another kind.
stock = __import__('mmengine').Config.fromfile(
    __import__('mmdet').__path__[0]
    + '/.mim/configs/mask2former/mask2former_r50_8xb2-lsj-50e_coco.py'
)
model = stock.model
model.backbone = dict(drop_path_rate=0.3)
del stock
