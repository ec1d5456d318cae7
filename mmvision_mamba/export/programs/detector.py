"""Whole detectors of mmdet, from an image's tensor to the tensors of what is found in it."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .boxes import best, decode, larger_than, rois, suppress
from .regions import RegionFeatures
from .supported import check_exportable

Size = tuple[int, int]


class Detector(nn.Module):
    """A detector for one image, of any size.

    It answers as mmdet's ``predict`` does for an image that was not resized: what follows from the
    resize, boxes in the given image's pixels and masks of its size, is left to the caller.

    Args:
        model: mmdet's detector, in evaluation mode.
        options: Of its last step, from boxes with scores to objects.

    Attributes:
        limit: The most objects that it finds; None for no limit.
    """

    def __init__(self, model: nn.Module, options: Mapping) -> None:
        super().__init__()
        self.model = model
        self.limit = options['max_per_img'] if options['max_per_img'] > 0 else None
        step = model.data_preprocessor
        self.divisor, self.pad_value = int(step.pad_size_divisor), float(step.pad_value)

    def pyramid(self, image: Tensor) -> Sequence[Tensor]:
        """Feature maps of an image, which is padded to the right and below as mmdet pads it."""
        down, right = (-side % self.divisor for side in image.shape[2:])
        return self.model.extract_feat(F.pad(image, (0, right, 0, down), value=self.pad_value))


class TwoStageDetector(Detector):
    """Faster R-CNN, Mask R-CNN and Cascade (Mask) R-CNN."""

    def __init__(self, model: nn.Module) -> None:
        head = model.roi_head
        super().__init__(model, head.test_cfg)
        # A cascade has its stages in lists, and what has one stage has no list.
        self.box_features = nn.ModuleList(map(RegionFeatures, _stages(head.bbox_roi_extractor)))
        self.box_heads = _stages(head.bbox_head)
        self.mask_heads = _stages(head.mask_head) if head.with_mask else []
        self.mask_features = nn.ModuleList()
        if head.with_mask:
            self.mask_features.extend(map(RegionFeatures, _stages(head.mask_roi_extractor)))

    @property
    def output_names(self) -> tuple[str, ...]:
        return ('boxes', 'scores', 'labels', 'masks')[: 4 if self.mask_heads else 3]

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Find objects.

        Args:
            image: (1, 3, H, W) float32, normalised and not padded.

        Returns:
            ``boxes`` (n, 4) float32, x1 y1 x2 y2 in the image's pixels; ``scores`` (n,) float32,
            descending; ``labels`` (n,) int64; and where the model has masks ``masks``
            (n, 28, 28) float32, of each object the probabilities in its box.
        """
        size, maps = tuple(image.shape[2:]), self.pyramid(image)
        boxes = self.proposals(maps, size)
        boxes, scores, labels = self.objects(maps, boxes, size)
        if not self.mask_heads:
            return boxes, scores, labels
        return boxes, scores, labels, self.masks(maps, boxes, labels)

    def proposals(self, maps: Sequence[Tensor], size: Size) -> Tensor:
        """Boxes (n, 4) of the region proposal network, best first."""
        head = self.model.rpn_head
        options = head.test_cfg
        found = [_anchors(head, *level) for level in _levels(head, maps)]
        kept = [best(scores[:, 0], options.nms_pre) for scores, _, _ in found]
        groups = [torch.full_like(places, level) for level, places in enumerate(kept)]
        scores, deltas, priors = (
            torch.cat([values[places] for values, places in zip(part, kept)])
            for part in zip(*found)
        )
        scores, groups = scores[:, 0], torch.cat(groups)
        boxes = decode(head.bbox_coder, priors, deltas, size)
        if options.get('min_bbox_size', -1) >= 0:
            large = larger_than(boxes, options.min_bbox_size)
            boxes, scores, groups = boxes[large], scores[large], groups[large]
        return boxes[_suppress(options, boxes, scores, groups)]

    def objects(
        self, maps: Sequence[Tensor], boxes: Tensor, size: Size
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (n, 4), scores (n,) and labels (n,) of what the proposals hold.

        Each stage but the last moves the boxes by what it says of its best class; the classes'
        scores are averaged over the stages.
        """
        options, total = self.model.roi_head.test_cfg, 0
        for stage, (features, head) in enumerate(zip(self.box_features, self.box_heads)):
            logits, deltas = (
                values[: boxes.shape[0]] for values in head(features(maps, rois(boxes)))
            )
            total = total + logits
            if stage < len(self.box_heads) - 1:
                deltas = _of_class(head, deltas, logits[:, :-1].argmax(dim=1))
                boxes = decode(head.bbox_coder, boxes, deltas, size)
        scores = (total / len(self.box_heads)).softmax(dim=1)[:, :-1]
        # Only boxes that count are decoded, of all that each class has.
        regions, labels = (scores > options.score_thr).nonzero().unbind(dim=1)
        scores = scores[regions, labels]
        deltas = _of_class(head, deltas[regions], labels)
        boxes = decode(head.bbox_coder, boxes[regions], deltas, size)
        kept = _suppress(options, boxes, scores, labels)
        return boxes[kept], scores[kept], labels[kept]

    def masks(self, maps: Sequence[Tensor], boxes: Tensor, labels: Tensor) -> Tensor:
        """Probabilities (n, 28, 28) of each object's class, averaged over the stages."""
        found = []
        for features, head in zip(self.mask_features, self.mask_heads):
            logits = head(features(maps, rois(boxes)))[: boxes.shape[0]]
            if head.class_agnostic:
                labels = torch.zeros_like(labels)
            place = labels[:, None, None, None].expand(-1, 1, *logits.shape[2:])
            found.append(logits.gather(1, place).squeeze(1).sigmoid())
        return found[0] if len(found) == 1 else torch.stack(found).mean(dim=0)


class OneStageDetector(Detector):
    """RetinaNet, and what else has dense anchors of which each says its class."""

    output_names = ('boxes', 'scores', 'labels')

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, model.bbox_head.test_cfg)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Find objects; as :meth:`TwoStageDetector.forward`, without masks."""
        size, head = tuple(image.shape[2:]), self.model.bbox_head
        options, found = head.test_cfg, []
        for level in _levels(head, self.pyramid(image)):
            scores, deltas, priors = _anchors(head, *level)
            anchors, labels = (scores > options.get('score_thr', 0)).nonzero().unbind(dim=1)
            scores = scores[anchors, labels]
            kept = best(scores, options.nms_pre)
            anchors, labels = anchors[kept], labels[kept]
            found.append((scores[kept], labels, deltas[anchors], priors[anchors]))
        scores, labels, deltas, priors = map(torch.cat, zip(*found))
        boxes = decode(head.bbox_coder, priors, deltas, size)
        if options.get('min_bbox_size', -1) >= 0:
            large = larger_than(boxes, options.min_bbox_size)
            boxes, scores, labels = boxes[large], scores[large], labels[large]
        kept = _suppress(options, boxes, scores, labels)
        return boxes[kept], scores[kept], labels[kept]


def detector_program(model: nn.Module) -> Detector:
    """The program of mmdet's detector, which is put in evaluation mode.

    Raises:
        InputError: A part of it is not one of those that are written here; it is named.
    """
    check_exportable(model)
    program = TwoStageDetector if hasattr(model, 'roi_head') else OneStageDetector
    return program(model).eval()


def _stages(part: nn.Module) -> Sequence[nn.Module]:
    return part if isinstance(part, nn.ModuleList) else [part]


def _levels(head: nn.Module, maps: Sequence[Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Of each level (1, A * K, H, W) scores, (1, A * 4, H, W) deltas and (H * W * A, 4) priors."""
    logits, deltas = head(maps)
    sizes = [values.shape[2:] for values in logits]
    priors = head.prior_generator.grid_priors(sizes, logits[0].dtype, logits[0].device)
    return list(zip(logits, deltas, priors))


def _anchors(
    head: nn.Module, logits: Tensor, deltas: Tensor, priors: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores (n, K), deltas (n, 4) and priors (n, 4) of a level's anchors."""
    logits = logits[0].permute(1, 2, 0).reshape(-1, head.cls_out_channels)
    scores = logits.sigmoid() if head.use_sigmoid_cls else logits.softmax(dim=1)[:, :-1]
    return scores, deltas[0].permute(1, 2, 0).reshape(-1, 4), priors


def _of_class(head: nn.Module, deltas: Tensor, labels: Tensor) -> Tensor:
    """Deltas (n, 4) of one class each, of (n, K * 4)."""
    if head.reg_class_agnostic:
        return deltas
    places = labels[:, None] * 4 + torch.arange(4, device=labels.device)
    return deltas.gather(1, places)


def _suppress(options: Mapping, boxes: Tensor, scores: Tensor, groups: Tensor) -> Tensor:
    """As the options of a ``test_cfg`` say."""
    if options.nms.get('class_agnostic', False):
        groups = None
    return suppress(boxes, scores, groups, options.nms.iou_threshold, options.max_per_img)
