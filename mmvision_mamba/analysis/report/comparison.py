"""Two models side by side: what changed from the second to the first, and whether by chance."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from .chance import Difference, difference, draw_images
from .charts import change_bar
from .data import SegmentationData
from .detection.errors import KINDS, costs, count_errors, find_errors
from .detection.images import ImageErrors, draw_image, legend
from .detection.precision import STATS, Scores
from .detection.resampling import resampled_ap
from .detection.sections import TITLES
from .page import Section, number, paragraph, table
from .photos import ImageReader
from .segmentation import images as label_images
from .segmentation.counting import Counts, iou, mean
from .segmentation.reading import LabelMaps
from .segmentation.sections import LEGEND, true_map

_EXPLAINED = (
    'The interval is that of 95 % of {draws:,} draws of the images with replacement, the same for '
    'both models (paired bootstrap): how much of the difference is due to which images were '
    'tested. It says nothing of what another training with another seed would change.'
)


def compare_detections(
    names: tuple[str, str],
    first: dict[str, Scores],
    second: dict[str, Scores],
    paths: Sequence[Path | None],
    read_image: ImageReader,
    images: int,
    draws: int,
) -> tuple[list[Section], dict[str, Difference]]:
    """Sections on two detectors of the same data, and the differences of AP.

    Args:
        names: Of the models, plain text.
        first, second: Scores of each by ``'bbox'`` and ``'segm'``, of the same kinds.
        paths: The file of each image.
        read_image: Reads one.
        images: How many that gained most, and that lost most, are shown.
        draws: Of the bootstrap.
    """
    sections, differences = [], {}
    weights = draw_images(len(paths), draws)
    for kind in first:
        pair = first[kind], second[kind]
        of = f' of {TITLES[kind]}' if len(first) > 1 else ''
        ap = [resampled_ap(scores, weights) for scores in pair]
        gain = ap[0] - ap[1]
        whole = [scores.stats['AP'] for scores in pair]
        overall = difference(whole[0] - whole[1], _mean_ap(ap[0]) - _mean_ap(ap[1]))
        differences[f'{kind}_AP'] = overall
        ap50 = difference(
            pair[0].stats['AP50'] - pair[1].stats['AP50'],
            _mean_ap(ap[0][:, :1]) - _mean_ap(ap[1][:, :1]),
        )
        body = paragraph(_verdict(names, 'AP', overall), note=not overall.is_clear)
        body += paragraph(_EXPLAINED.format(draws=draws))
        body += _stats_table(names, pair, dict(AP=overall, AP50=ap50))
        sections.append(Section(f'Difference{of}', body))
        by_class = [
            difference(a - b, gain[:, :, k].mean(axis=1))
            for k, (a, b) in enumerate(zip(*(scores.by_class['AP'] for scores in pair)))
        ]
        values = [scores.by_class['AP'] for scores in pair]
        class_names = pair[0].truth.class_names
        sections.append(
            Section(f'Classes{of}', _class_table(names, class_names, values, by_class, 'AP', 3))
        )
        errors = [find_errors(s.truth, s.found, s.matches) for s in pair]
        sections.append(Section(f'Errors{of}', _error_table(names, pair, errors)))
    found = [ImageErrors(s, e, s.best.threshold) for s, e in zip(pair, errors)]
    change = found[0].f1() - found[1].f1()
    about = paragraph(
        'By F1 in the image at IoU 0.50, of the detections of each model that score as much as its '
        f'own best F1 asks for ({names[0]}: {number(found[0].threshold, 2)}, {names[1]}: '
        f'{number(found[1].threshold, 2)}).'
    )
    named = list(zip(names, found))

    def draw(place: int) -> str:
        return draw_image(place, named, paths[place], read_image)

    chosen = _gained_and_lost(change, images)
    sections += [
        Section(title, about + legend(missed=False) + ''.join(map(draw, places)))
        if len(places)
        else Section(title, paragraph('There are none.'))
        for title, places in zip(('Images that gained', 'Images that lost'), chosen)
    ]
    return sections, differences


def compare_label_maps(
    names: tuple[str, str],
    data: SegmentationData,
    counts: tuple[Counts, Counts],
    maps: tuple[LabelMaps, LabelMaps],
    palette: np.ndarray,
    read_image: ImageReader,
    images: int,
    draws: int,
) -> tuple[list[Section], dict[str, Difference]]:
    """Sections on two segmentors of the same data, and the difference of mIoU in percent.

    Args:
        names: Of the models, plain text.
        data: The images.
        counts, maps: Of each model.
        palette: (K, 3) uint8 RGB.
        read_image: Reads an image file.
        images: How many that gained most, and that lost most, are shown.
        draws: Of the bootstrap.
    """
    weights = draw_images(len(data), draws).astype(float)
    ious = [
        100 * iou(*(weights @ part for part in (c.right, c.predicted, c.labelled))) for c in counts
    ]
    values = [100 * c.iou for c in counts]
    averages = [c.averages for c in counts]
    overall = difference(
        averages[0]['mIoU'] - averages[1]['mIoU'], mean(ious[0], axis=1) - mean(ious[1], axis=1)
    )
    by_class = [difference(*each) for each in zip(values[0] - values[1], (ious[0] - ious[1]).T)]
    rows = [
        [
            name,
            *(number(average[name], 2) for average in averages),
            number(averages[0][name] - averages[1][name], 2),
            _interval(overall, 2) if name == 'mIoU' else '',
        ]
        for name in averages[0]
    ]
    head = ['', *names, 'difference', '95 % interval']
    body = paragraph(_verdict(names, 'mIoU', overall, 2), note=not overall.is_clear)
    body += paragraph(_EXPLAINED.format(draws=draws)) + table(head, rows)
    sections = [
        Section('Difference', body),
        Section('Classes', _class_table(names, data.class_names, values, by_class, 'IoU', 2)),
    ]
    change = counts[0].image_iou - counts[1].image_iou
    for title, places in zip(
        ('Images that gained', 'Images that lost'), _gained_and_lost(change, images)
    ):
        drawn = ''
        for place, *predicted in zip(places, *(each(places) for each in maps)):
            told = ', '.join(
                f'{name}: {number(100 * c.image_iou[place], 1)}' for name, c in zip(names, counts)
            )
            drawn += label_images.draw_image(
                data.paths[place].name,
                data.paths[place],
                true_map(data, place, predicted[0]),
                list(zip(names, predicted)),
                data.class_names,
                palette,
                read_image,
                f'mean IoU {told}',
            )
        sections.append(Section(title, LEGEND + drawn if drawn else paragraph('There are none.')))
    return sections, {'mIoU': overall}


def _mean_ap(ap: np.ndarray) -> np.ndarray:
    """(draws,) over the IoUs, and the classes that a draw has."""
    return mean(ap.reshape(len(ap), -1).astype(float), axis=1)


def _verdict(names: tuple[str, str], metric: str, by: Difference, digits: int = 3) -> str:
    interval = f'{number(abs(by.value), digits)} (95 % interval {_interval(by, digits)})'
    if not by.is_clear:
        return (
            f'The {metric} of {names[0]} and {names[1]} differs by {interval}: as the interval '
            'holds 0, the images tested do not tell which of them is better.'
        )
    better, worse = names if by.value > 0 else names[::-1]
    return f'{better} is better than {worse} in {metric}, by {interval}.'


def _interval(by: Difference, digits: int) -> str:
    return f'{number(by.low, digits)} to {number(by.high, digits)}'


def _stats_table(
    names: tuple[str, str], pair: tuple[Scores, Scores], known: dict[str, Difference]
) -> str:
    rows = []
    for name in STATS:
        first, second = (scores.stats[name] for scores in pair)
        interval = _interval(known[name], 3) if name in known else ''
        rows.append([name, number(first), number(second), number(first - second), interval])
    return table(['', *names, 'difference', '95 % interval'], rows)


def _class_table(
    names: tuple[str, str],
    class_names: Sequence[str],
    values: Sequence[np.ndarray],
    by_class: Sequence[Difference],
    metric: str,
    digits: int,
) -> str:
    changes = np.array([each.value for each in by_class])
    most = np.nanmax(abs(changes), initial=0) if not np.isnan(changes).all() else 0
    order = np.argsort(np.where(np.isnan(changes), np.inf, -changes), kind='stable')
    rows = []
    for k in order:
        each, (first, second) = by_class[k], (value[k] for value in values)
        title = f'{class_names[k]}: {number(each.value, digits)}'
        rows.append(
            [
                escape(class_names[k]),
                number(first, digits),
                number(second, digits),
                number(each.value, digits),
                change_bar(each.value, most, title),
                _interval(each, digits),
                'gained' if each.low > 0 else 'lost' if each.high < 0 else '',
            ]
        )
    head = ['class', *(f'{metric} of {name}' for name in names), 'difference', '']
    return paragraph(
        'What gained most comes first. A class has gained or lost where its interval does not hold '
        '0; of many classes one in twenty would by chance.'
    ) + table([*head, '95 % interval', ''], rows, text=(0, 4, 6))


def _error_table(names: tuple[str, str], pair: tuple[Scores, Scores], errors: Sequence) -> str:
    cost = [costs(scores, each) for scores, each in zip(pair, errors)]
    count = [count_errors(each) for each in errors]
    rows = [
        [
            kind,
            *(f'{each[kind]:,}' for each in count),
            *(number(each[kind]) for each in cost),
            number(cost[0][kind] - cost[1][kind]),
        ]
        for kind in KINDS[1:]
    ]
    head = ['error', *(f'times in {name}' for name in names)]
    return table([*head, *(f'costs {name} AP50' for name in names), 'difference'], rows)


def _gained_and_lost(change: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of the images that gained most, and lost most."""
    order = np.argsort(-change, kind='stable')
    gained = order[: np.count_nonzero(change > 0)][:number]
    order = np.argsort(change, kind='stable')
    return gained, order[: np.count_nonzero(change < 0)][:number]
