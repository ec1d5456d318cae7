"""The sections of a detector's report."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from ..charts import Line, bar, heat_map, line_chart, spark_line
from ..confused import most_confused
from ..page import Section, figure, number, paragraph, table
from ..photos import ImageReader
from .confusion import confusion_matrix
from .errors import WHAT, Errors, costs, count_errors, find_errors
from .images import ImageErrors, draw_image, legend, worst_and_best
from .matching import SIZES, match
from .objects import Detections, Truth
from .precision import RECALLS, STATS, Scores

TITLES = {'bbox': 'boxes', 'segm': 'masks'}
_SIZES = ('all', 'small, up to 32² pixels', 'medium, up to 96²', 'large')


def measure(truth: Truth, found: Detections, iou_types: Sequence[str]) -> dict[str, Scores]:
    """Scores of boxes and maybe of masks.

    Args:
        truth, found: Objects.
        iou_types: Of ``'bbox'`` and ``'segm'``.
    """
    return {kind: Scores(truth, found, match(truth, found, kind)) for kind in iou_types}


def detection_sections(
    measured: dict[str, Scores],
    paths: Sequence[Path | None],
    read_image: ImageReader,
    images: int,
) -> list[Section]:
    """All about one detector.

    Args:
        measured: See :func:`measure`.
        paths: The file of each image; None of one that the data set does not have.
        read_image: Reads one.
        images: How many of the worst, and of the best, are shown.
    """
    sections = [Section('Scores', _averages(measured))]
    for kind, scores in measured.items():
        of = f' of {TITLES[kind]}' if len(measured) > 1 else ''
        errors = find_errors(scores.truth, scores.found, scores.matches)
        sections += [
            Section(f'Errors{of}', _errors(scores, errors)),
            Section(f'Curves{of}', _curves(scores)),
            Section(f'Classes{of}', _classes(scores)),
            Section(f'Sizes{of}', _sizes(scores)),
            Section(f'Confusion{of}', _confusion(scores)),
        ]
    found = ImageErrors(scores, errors, scores.best.threshold)
    worst, best = worst_and_best(found, images)
    about = (
        f'{TITLES[kind].capitalize()} that score {number(found.threshold, 2)} or more, where F1 '
        'over all classes is highest. Hover over an object for its class and error; below each '
        'image all errors are named.'
    )
    for title, chosen in (('Worst images', worst), ('Best images', best)):
        drawn = ''.join(
            draw_image(place, [('predicted', found)], paths[place], read_image) for place in chosen
        )
        body = paragraph(about) + legend() + drawn if len(chosen) else paragraph('There are none.')
        sections.append(Section(title, body))
    return sections


def _averages(measured: dict[str, Scores]) -> str:
    rows = [
        [TITLES[kind], *(number(value) for value in scores.stats.values())]
        for kind, scores in measured.items()
    ]
    return paragraph(
        "COCO's averages, those of test.py: AP over IoU 0.50 to 0.95, at 0.50 and at 0.75, of "
        'small, medium and large objects; AR of at most 1, 10 and 100 detections of a class in an '
        'image, and by size.'
    ) + table(['', *STATS], rows)


def _errors(scores: Scores, errors: Errors) -> str:
    cost, count = costs(scores, errors), count_errors(errors)
    most = max(0.001, *(value for value in cost.values() if value == value), 0.001)
    rows = [
        [
            escape(kind),
            f'{count[kind]:,}',
            number(value),
            bar(value / most, f'{kind}: {number(value)} AP50, {count[kind]:,} times'),
            escape(WHAT[kind]),
        ]
        for kind, value in cost.items()
    ]
    return paragraph(
        'What AP at IoU 0.5 would gain if one kind of errors were mended, and nothing else (TIDE, '
        'Bolya et al., 2020). Detections of all scores are counted; what costs much is what '
        f'scores high. Now it is {number(scores.stats["AP50"])}.'
    ) + table(['error', 'times', 'costs AP50', '', 'what it is'], rows, text=(0, 3, 4))


def _curves(scores: Scores) -> str:
    whole = scores.precision[0]
    lines = []
    for name, precision in (
        ('IoU 0.50', whole[0]),
        ('IoU 0.75', whole[5]),
        ('IoU 0.50 to 0.95', whole.mean(axis=0)),
    ):
        mean = _mean_over_classes(precision)[::2]
        titles = [f'{name}: recall {r:.2f}, precision {p:.3f}' for r, p in zip(RECALLS[::2], mean)]
        lines.append(Line(name, RECALLS[::2], mean, titles))
    curves = figure(
        line_chart(lines, 'recall', 'precision'),
        'Mean over classes; the area below is AP.',
        'Precision and recall',
    )
    points = scores.operating_points(
        np.argsort(-scores.found.scores, kind='stable'), scores.to_find[0].sum()
    )
    if points.size:  # some of them, evenly
        points = points[:, np.unique(np.linspace(0, points.shape[1] - 1, 60).astype(int))]
    by_score = [
        Line(
            name,
            points[0],
            values,
            [f'score {s:.2f}: {name} {v:.3f}' for s, v in zip(points[0], values)],
        )
        for name, values in zip(('precision', 'recall', 'F1'), points[1:])
    ]
    best = scores.best
    thresholds = figure(
        line_chart(by_score, 'least score', 'at IoU 0.50'),
        f'F1 is highest, {number(best.f1)}, at score {number(best.threshold, 2)}: precision '
        f'{number(best.precision)}, recall {number(best.recall)}.',
        'Which score to cut at',
    )
    return f'<div class="row">{curves}{thresholds}{_calibration(scores)}</div>'


def _calibration(scores: Scores) -> str:
    count, score, share = scores.calibration
    titles = [
        f'{n:,.0f} detections of mean score {s:.2f}: {p:.1%} are right'
        for n, s, p in zip(count, score, share)
    ]
    gap = np.nansum(count * abs(score - share)) / max(count.sum(), 1)
    return figure(
        line_chart(
            [Line('detections', score, share, titles)],
            'score',
            'share that is right',
            diagonal=True,
        ),
        'Of detections of a score, by tenths, how many are right at IoU 0.50. On the dotted line a '
        f'score is a probability; the mean distance from it is {number(gap)}.',
        'Calibration',
    )


def _classes(scores: Scores) -> str:
    ap = scores.by_class
    order = np.argsort(np.where(np.isnan(ap['AP']), np.inf, ap['AP']), kind='stable')
    rows = []
    for k in order:
        name, point = scores.truth.class_names[k], scores.best_by_class[k]
        curve = scores.precision[0, 0, ::5, k]
        rows.append(
            [
                escape(name),
                f'{scores.to_find[0, k]:,}',
                bar(ap['AP'][k], f'{name}: AP {number(ap["AP"][k])}', width=110),
                *(number(ap[each][k]) for each in STATS[:6]),
                number(point.threshold, 2),
                *(number(value) for value in (point.f1, point.precision, point.recall)),
                spark_line(RECALLS[::5], curve, f'{name}: precision over recall at IoU 0.50'),
            ]
        )
    head = ['class', 'objects', '', *STATS[:6], 'best score', 'F1', 'precision', 'recall', 'curve']
    return paragraph(
        'The lowest AP first. The best score is that from which on F1 at IoU 0.50 is highest, with '
        'F1, precision and recall there.'
    ) + table(head, rows, text=(0, 2, 13))


def _sizes(scores: Scores) -> str:
    stats, threshold = scores.stats, scores.best.threshold
    shown = scores.found.scores >= threshold
    rows = []
    for size, name in enumerate(SIZES):
        ap = stats['AP' + ('' if name == 'all' else name[0])]
        ar = stats['AR100' if name == 'all' else 'AR' + name[0]]
        to_find = int(scores.to_find[size].sum())
        hits = np.count_nonzero(scores.matches.right[size, 0] & shown)
        recall = hits / to_find if to_find else np.nan
        rows.append(
            [
                escape(_SIZES[size]),
                f'{to_find:,}',
                bar(ap, f'{name}: AP {number(ap)}'),
                number(ap),
                number(ar),
                number(recall),
            ]
        )
    head = ['objects', 'number', '', 'AP', 'AR', f'found at score {number(threshold, 2)}']
    return table(head, rows, text=(0, 2))


def _confusion(scores: Scores) -> str:
    truth, threshold = scores.truth, scores.best.threshold
    if np.isnan(threshold):
        return paragraph('Nothing was found.')
    matrix = confusion_matrix(truth, scores.found, scores.matches.overlaps, threshold)
    names = [*truth.class_names, 'background']
    about = paragraph(
        f'Detections that score {number(threshold, 2)} or more, each held against the object that '
        'it overlaps by IoU 0.5 or more, whatever its class. The last column is missed objects, '
        'the last row detections where nothing is. Numbers are percent of a row.'
    )
    return (
        about + heat_map(matrix, names, names, 'objects') + most_confused(matrix, truth.class_names)
    )


def _mean_over_classes(precision: np.ndarray) -> np.ndarray:
    """(101,) of (101, K); NaN without any class."""
    defined = ~np.isnan(precision[0])
    if not defined.any():
        return np.full(len(precision), np.nan)
    return precision[:, defined].mean(axis=1)
