"""The files that benchmarks leave in ``benchmarks/results/``: JSON with the machine it is of."""

import json
import re
from pathlib import Path

import torch
from machine import machine

RESULTS = Path(__file__).resolve().parent / 'results'


def result_path(kind: str, device: str | None = None, *notes: str) -> Path:
    """``results/KIND_MACHINE.json``, with what else tells results of one machine apart."""
    words = ' '.join((machine(device), *notes))
    return RESULTS / f'{kind}_{re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")}.json'


def record(path: Path, device: str | None = None, **fields: object) -> None:
    """Write the fields of a benchmark's result after the machine's name and torch's version."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = dict(machine=machine(device), torch=torch.__version__) | fields
    path.write_text(json.dumps(content, indent=1) + '\n')
