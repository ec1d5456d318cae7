"""Whole segmentors of mmseg, from an image's tensor to the class of each pixel."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import InputError

# A label map is of bytes up to here: 255 is what OpenMMLab ignores.
_MOST_IN_A_BYTE = 255


class Segmentor(nn.Module):
    """A segmentor for images of one size, computed whole.

    Args:
        model: mmseg's EncoderDecoder, in evaluation mode.
        probabilities: Whether to give those of all classes too.
    """

    def __init__(self, model: nn.Module, probabilities: bool) -> None:
        super().__init__()
        self.backbone, self.head = model.backbone, model.decode_head
        self.neck = model.neck if model.with_neck else nn.Identity()
        self.align_corners = model.align_corners
        self.probabilities = probabilities
        self.output_names = ('label_map', 'probabilities')[: 1 + probabilities]

    def forward(self, image: Tensor, size: Tensor) -> tuple[Tensor, ...]:
        """Classify pixels.

        Args:
            image: (N, C, H, W) float32, normalised.
            size: (2,) int64, height and width of the result: those of the image before it was
                resized for the network.

        Returns:
            ``label_map`` (N, height, width), uint8, or int64 where there are more than 255
            classes; and if wanted ``probabilities`` (N, K, height, width) float32.
        """
        logits = self.head(self.neck(self.backbone(image)))
        height, width = size.tolist()
        torch._check(height > 1)
        torch._check(width > 1)
        # Twice, as mmseg does: to the network's image, and to the given one.
        logits = self._resize(logits, image.shape[2:])
        logits = self._resize(logits, (height, width))
        if logits.shape[1] == 1:
            scores = logits.sigmoid()
            labels = (scores[:, 0] > self.head.threshold).to(torch.uint8)
        else:
            labels = logits.argmax(dim=1)
            if logits.shape[1] <= _MOST_IN_A_BYTE:
                labels = labels.to(torch.uint8)
            scores = logits.softmax(dim=1) if self.probabilities else None
        return (labels, scores) if self.probabilities else (labels,)

    def _resize(self, logits: Tensor, size) -> Tensor:
        return F.interpolate(
            logits, size=tuple(size), mode='bilinear', align_corners=self.align_corners
        )


def check_segmentor(model: nn.Module) -> None:
    """Raise InputError unless a segmentor is one whose answer the program's is."""
    from mmseg.models.decode_heads import FCNHead, FPNHead, PSPHead, SegformerHead, UPerHead
    from mmseg.models.segmentors import EncoderDecoder

    heads = (UPerHead, SegformerHead, FCNHead, FPNHead, PSPHead)

    if type(model) is not EncoderDecoder:
        raise InputError(
            f'the model is a {type(model).__name__}, of which no exported program is written; '
            'expected EncoderDecoder'
        )
    if type(model.decode_head) not in heads:
        raise InputError(
            f'decode_head is a {type(model.decode_head).__name__}, of which no exported program is '
            f'written; expected {", ".join(head.__name__ for head in heads)}'
        )
    mode = model.test_cfg.get('mode', 'whole')
    if mode != 'whole':
        raise InputError(
            f'model.test_cfg.mode is {mode!r}, and an exported segmentor computes an image whole: '
            'give --cfg-options model.test_cfg.mode=whole'
        )
