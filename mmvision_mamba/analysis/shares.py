"""Where the time of a training step goes, forward and backward, on the CPU."""

from collections import defaultdict
from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile, record_function

_PREFIX = 'part: '
_BACKWARD_NODE = 'autograd::engine::evaluate_function'
REST = 'rest'


def part_span(name: str) -> record_function:
    """A span that :func:`step_shares` tells from others."""
    return record_function(_PREFIX + name)


def step_shares(step: Callable[[], object]) -> dict[str, float]:
    """Seconds of a step by the part whose span they are in, of which the innermost counts.

    A node of the graph that runs backward is of the part that made it, by autograd's sequence
    numbers. What is of no part is ``rest``.

    Args:
        step: Runs on the CPU, its parts within :func:`part_span`; its backward pass may be within
            a span too, which is left what is of no part.
    """
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as run, part_span(REST):
        step()
    events = sorted(run.events(), key=lambda e: (e.time_range.start, -e.time_range.end))
    shares, makers = defaultdict(float), {}
    backward: list[tuple[int, float, str]] = []
    open_spans: list[tuple[float, str]] = []
    node_end = 0.0  # of the node of the graph that runs
    for event in events:
        start, end = event.time_range.start, event.time_range.end
        while open_spans and open_spans[-1][0] <= start:
            open_spans.pop()
        inside = open_spans[-1][1] if open_spans else None
        if event.name.startswith(_PREFIX):
            name = event.name.removeprefix(_PREFIX)
            shares[name] += end - start
            if inside is not None:
                shares[inside] -= end - start
            open_spans.append((end, name))
        elif event.name.startswith(_BACKWARD_NODE):
            backward.append((event.sequence_nr, end - start, inside))
            node_end = end
        elif event.sequence_nr >= 0 and inside is not None and start >= node_end:
            # Operators without a node have the number of the next that has one, which comes last.
            makers.setdefault(event.sequence_nr, {})[inside] = start
    owner = {number: max(of, key=of.get) for number, of in makers.items()}
    for number, duration, inside in backward:
        if number in owner and inside is not None:
            shares[inside] -= duration
            shares[owner[number]] += duration
    return {name: value / 1e6 for name, value in shares.items()}
