# RTMDet-Ins of size l, on strides 8, 16 and 32; a config adds the backbone and the neck's
# in_channels. Norms and colours are as in mmdet's RTMDet on Swin: GN, and RGB.
# mmdet has no base of the model alone, and MMEngine takes a config that imports for another kind.
stock = __import__('mmengine').Config.fromfile(
    __import__('mmdet').__path__[0] + '/.mim/configs/rtmdet/rtmdet-ins_l_8xb32-300e_coco.py'
)
model = stock.model
model.backbone = dict(drop_path_rate=0.3, out_indices=(1, 2, 3))
model.neck.norm_cfg = model.bbox_head.norm_cfg = dict(type='GN', num_groups=32)
model.data_preprocessor.update(
    mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
)
del stock
