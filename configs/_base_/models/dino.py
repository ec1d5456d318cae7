# DINO with four scales, on strides 8, 16 and 32 and one that the neck makes; a config adds the
# backbone and the neck's in_channels.
# mmdet has no base of the model alone, and MMEngine takes a config that imports for another kind.
stock = __import__('mmengine').Config.fromfile(
    __import__('mmdet').__path__[0] + '/.mim/configs/dino/dino-4scale_r50_8xb2-12e_coco.py'
)
model = stock.model
model.backbone = dict(drop_path_rate=0.2, out_indices=(1, 2, 3))
del stock
