"""RoIAlign on the level of a feature pyramid that fits a region's size."""

from collections.abc import Sequence

import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from torch import Tensor, nn
from torchvision.ops import roi_align

from .boxes import true_places


class RegionFeatures(nn.Module):
    """What mmdet's ``SingleRoIExtractor`` computes, by operations that can be exported."""

    def __init__(self, extractor: SingleRoIExtractor) -> None:
        super().__init__()
        self.finest_scale = extractor.finest_scale
        self.layers = [
            dict(
                output_size=layer.output_size,
                spatial_scale=layer.spatial_scale,
                sampling_ratio=layer.sampling_ratio,
                aligned=layer.aligned,
            )
            for layer in extractor.roi_layers
        ]

    def forward(self, maps: Sequence[Tensor], rois: Tensor) -> Tensor:
        """Features (n, C, h, w) of RoIs (n, 5) from maps (1, C, H, W), the finest first."""
        maps = maps[: len(self.layers)]
        if len(maps) == 1:
            return roi_align(maps[0], rois, **self.layers[0])
        levels = self.levels(rois)
        height, width = self.layers[0]['output_size']
        features = maps[0].new_zeros(rois.shape[0], maps[0].shape[1], height, width)
        for level, (values, layer) in enumerate(zip(maps, self.layers)):
            places = true_places(levels == level)
            found = roi_align(values, rois[places], **layer)
            features = features.index_put((places,), found)
        return features

    def levels(self, rois: Tensor) -> Tensor:
        """The level of each RoI, (n,) int64: the next one where the scale doubles."""
        scale = ((rois[:, 3] - rois[:, 1]) * (rois[:, 4] - rois[:, 2])).sqrt()
        # A logarithm would be rounded one way here and another there, right at a level's edge.
        doubled = 2.0 ** torch.arange(1, len(self.layers), device=rois.device)
        return (scale[:, None] / self.finest_scale + 1e-6 >= doubled).sum(dim=1)
