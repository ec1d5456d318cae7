"""The parts that a model of mmdet or mmseg is of, and when they are at work."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import wraps

import torch
from torch import Tensor, nn

Span = Callable[[str], AbstractContextManager]

# Of a RoI head: parts by themselves, since it is never called as a module.
_OPENED = 'roi_head'
# Of the regions that a detector classifies, one in so many is given an object's class.
_OBJECTS_IN = 4


def parts_of(model: nn.Module) -> dict[str, list[nn.Module]]:
    """The modules of each part, by the part's name.

    A part is an attribute of the model: ``backbone``, ``neck``, ``rpn_head``, ``decode_head``; of
    its RoI head, an attribute of that: ``roi_head.bbox_head``. A part of several modules, as of a
    cascade's stages, is one part.
    """
    parts = {}
    for name, child in model.named_children():
        inner = child.named_children() if name == _OPENED else [('', child)]
        for last, part in inner:
            modules = list(part) if isinstance(part, nn.ModuleList) else [part]
            parts[f'{name}.{last}' if last else name] = modules
    return parts


def kind_of(part: str) -> str:
    """Which of preprocessing, backbone, neck and heads a part is of."""
    if part == 'data_preprocessor':
        return 'preprocessing'
    return part if part in ('backbone', 'neck') else 'heads'


@contextmanager
def part_spans(model: nn.Module, span: Span) -> Iterator[None]:
    """Have each part's ``forward`` run within ``span(its name)``, until the context ends."""
    with ExitStack() as stack:
        for name, modules in parts_of(model).items():
            for module in modules:
                stack.enter_context(in_span(module, 'forward', span, name))
        yield


@contextmanager
def in_span(owner: object, method: str, span: Span, name: str) -> Iterator[None]:
    """Have an object's method run within ``span(name)``, until the end of the context."""
    function = getattr(owner, method)

    @wraps(function)
    def spanned(*args, **kwargs):
        with span(name):
            return function(*args, **kwargs)

    with replaced(owner, method, spanned):
        yield


@contextmanager
def replaced(owner: object, method: str, function: Callable) -> Iterator[None]:
    """Have an object call a function in place of its method, until the end of the context."""
    before = vars(owner).get(method)
    setattr(owner, method, function)
    try:
        yield
    finally:
        delattr(owner, method)
        if before is not None:
            setattr(owner, method, before)


@contextmanager
def drawn_objects(model: nn.Module) -> Iterator[None]:
    """Have an untrained detector's RoI head find as many objects as a trained one may.

    Untrained, no region has a score above a recipe's threshold, so that nothing is left for NMS
    and the mask head to do. In this context one region in four has, of a class and with a score
    that are drawn, the same in each call. Other models are left as they are: what they are cut to
    is a number, not a score.
    """
    heads = parts_of(model).get('roi_head.bbox_head', [])
    with ExitStack() as stack:
        for head in heads:
            stack.enter_context(replaced(head, 'forward', _with_drawn_scores(head)))
        yield


def _with_drawn_scores(head: nn.Module) -> Callable:
    forward = head.forward

    @wraps(forward)
    def drawn(*args, **kwargs):
        scores, *others = forward(*args, **kwargs)
        # Of a softmax with a background; others, as Sparse R-CNN's, are cut to a number too.
        if scores.dim() == 2 and scores.shape[1] == head.num_classes + 1:
            scores = draw_scores(scores)
        return scores, *others

    return drawn


def draw_scores(scores: Tensor) -> Tensor:
    """Logits ``(regions, classes + 1)`` like the given ones, the last being the background's.

    Every fourth region has a drawn class, with a probability between 0.1 and 0.9.
    """
    random = torch.Generator().manual_seed(0)
    objects = range(0, len(scores), _OBJECTS_IN)
    classes = torch.randint(scores.shape[1] - 1, (len(objects),), generator=random)
    probabilities = torch.empty(len(objects)).uniform_(0.1, 0.9, generator=random)
    drawn = torch.full(scores.shape, -math.inf)
    drawn[:, -1] = 0
    drawn[objects, classes] = probabilities.logit()
    return drawn.to(scores)
