"""The way of the data through the code, with the modules that it goes through."""

from itertools import pairwise

from svg_canvas import BLUE, FAINT, GREEN, GREY, ORANGE, PURPLE, Canvas

WIDE, HIGH = 168, 56


def row(canvas: Canvas, y: float, boxes: list[tuple[float, str, tuple[str, ...]]]) -> None:
    """Boxes beside each other, an arrow from each to the next."""
    for (x, _, _), (x_next, _, _) in pairwise(boxes):
        canvas.arrow((x + WIDE, y + HIGH / 2), (x_next - 2, y + HIGH / 2))
    for x, fill, lines in boxes:
        canvas.box(x, y, WIDE, HIGH, *lines, fill=fill)


def data_way() -> str:
    canvas = Canvas(1000, 632, "The data's way through the code")
    canvas.heading(20, 36, "The data's way through the code")
    columns = [20, 216, 412, 608, 804]
    x_model = columns[2]
    for y, name in ((70, 'training'), (220, 'testing'), (370, 'predicting')):
        canvas.text(20, y - 8, name, 13, ink=FAINT)
    # What the three have in common.
    canvas.frame(x_model - 8, 62, WIDE + 16, 388, '#f3efe6')
    canvas.text(x_model + WIDE / 2, 82, 'model', 13, 'middle')
    canvas.text(x_model + WIDE / 2, 99, 'mmdet or mmseg builds it', 11, 'middle', FAINT)
    parts = [
        ('data preprocessor', 'normalise, pad'),
        ('backbone', 'backbones/, ops/'),
        ('neck', 'FPN and others'),
        ('heads', 'boxes, masks, classes'),
    ]
    for i, lines in enumerate(parts):
        y = 112 + 84 * i
        fill = ORANGE if lines[0] == 'backbone' else GREY
        canvas.box(x_model, y, WIDE, HIGH, *lines, fill=fill)
        if i:
            canvas.arrow((x_model + WIDE / 2, y - 28), (x_model + WIDE / 2, y - 2))
    before = {
        70: [
            ('files and labels', 'datasets/own, checking/'),
            ('samples', 'datasets/, transforms/'),
        ],
        220: [('files and labels', 'datasets/checking'), ('samples', "mmdet's, mmseg's")],
        370: [('images, videos', 'inference/files'), ('inputs', 'inference/input_pipeline')],
    }
    after = {
        70: [('losses', 'a step: engine/'), ('checkpoint', 'engine/hooks')],
        220: [('predictions', 'masks as run lengths'), ('AP, mIoU', 'evaluation/')],
        370: [('results', 'inference/results'), ('drawn, JSON, page', 'drawing/, files/, serve/')],
    }
    for y, boxes in before.items():
        fills = (BLUE, BLUE)
        row(canvas, y, [(columns[i], fills[i], lines) for i, lines in enumerate(boxes)])
        canvas.arrow((columns[1] + WIDE, y + HIGH / 2), (x_model - 10, y + HIGH / 2))
    for y, boxes in after.items():
        fills = (GREEN, GREEN)
        row(canvas, y, [(columns[3 + i], fills[i], lines) for i, lines in enumerate(boxes)])
        canvas.arrow((x_model + WIDE + 8, y + HIGH / 2), (columns[3] - 2, y + HIGH / 2))
    y, foot = 482, 452
    row(
        canvas,
        y,
        [
            (columns[0], PURPLE, ('config', 'configs/, config.py')),
            (columns[1], PURPLE, ('another backbone', 'pairing/')),
        ],
    )
    canvas.box(columns[1], y + 76, WIDE, HIGH, 'weights', 'checkpoints/', fill=PURPLE)
    row(
        canvas,
        y,
        [
            (columns[3], GREEN, ('exported file', 'export/')),
            (columns[4], GREEN, ('runs by itself', 'standalone/')),
        ],
    )
    middle = y + HIGH / 2
    canvas.arrow((columns[1] + WIDE, middle), (x_model + 40, middle), (x_model + 40, foot))
    middle += 76
    canvas.arrow((columns[1] + WIDE, middle), (x_model + 84, middle), (x_model + 84, foot))
    middle -= 76
    canvas.arrow((x_model + 128, foot - 2), (x_model + 128, middle), (columns[3] - 2, middle))
    return canvas.svg()
