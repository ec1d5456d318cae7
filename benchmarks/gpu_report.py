"""Everything that a GPU can prove about this project, as one page.

    python benchmarks/gpu_report.py                      # all parts, one after the other
    python benchmarks/gpu_report.py --part scan_time     # one; again goes on where it stopped
    python benchmarks/gpu_report.py --device cpu         # every part, small: that it runs

A part is a process that ends within nine minutes; what it has not come to is measured by the next
call. Results are JSON, a file a part, and the page ``README.md``, under
``benchmarks/results/gpu_NAME/``; those of a GPU are filled into docs/scaling.md.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

MINUTES = 9.0
# Of the time of a part, kept for what is under way when it runs out.
MARGIN_SECONDS = 30.0


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--part', help='of those that --list names; default: all')
    parser.add_argument('--list', action='store_true', help='name the parts, and end')
    parser.add_argument('--device', choices=('cuda', 'cpu'), help='default: cuda where a GPU is')
    parser.add_argument('--minutes', type=float, default=MINUTES, help='of a part at most')
    parser.add_argument('--fresh', action='store_true', help='measure again what there is')
    parser.add_argument('--output', type=Path, help='the folder')
    return parser.parse_args()


def run_part(name: str, device: str, folder: Path, minutes: float, fresh: bool) -> dict:
    """Measure the cases of a part that its file lacks, until time runs out; returns the file."""
    import torch
    from gpu_parts import PARTS
    from machine import machine

    begun = time.monotonic()
    part, path = PARTS[name], folder / f'{name}.json'
    here = dict(machine=machine(device), device=device, torch=torch.__version__)
    if device == 'cuda':
        here['cuda'] = torch.version.cuda
    content = json.loads(path.read_text()) if path.exists() and not fresh else {}
    if any(content.get(key) != value for key, value in here.items()):
        content = here | dict(results=[])
    done = [result['case'] for result in content['results']]
    cases = [case for case in part.cases(device == 'cpu') if case not in done]
    longest = 0.0
    content['left'] = len(cases)
    write(path, content)
    for case in cases:
        spent = time.monotonic() - begun
        if spent + max(longest, MARGIN_SECONDS) > 60 * minutes:
            break
        started = time.monotonic()
        print(f'{name}: {case}', flush=True)
        try:
            result = dict(case=case, rows=part.measure(case, device))
        except Exception as error:  # one that a GPU has no memory for, say, is a result too
            result = dict(case=case, error=f'{type(error).__name__}: {str(error)[:300]}')
        longest = max(longest, time.monotonic() - started)
        content['results'].append(result)
        content['left'] -= 1
        write(path, content)
        if device == 'cuda':
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
    return content


def write(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + '\n')


def run_all(names: list[str], args: argparse.Namespace, folder: Path) -> None:
    """Each part in processes of its own, as many as it takes to come to the end of its cases."""
    for name in names:
        left = None
        fresh = ['--fresh'] if args.fresh else []
        while left != 0:
            command = [sys.executable, __file__, '--part', name, '--device', args.device]
            command += ['--minutes', str(args.minutes), '--output', str(folder), *fresh]
            try:
                subprocess.run(command, timeout=60 * args.minutes)
            except subprocess.TimeoutExpired:
                print(f'{name}: a case took longer than {args.minutes:g} minutes, and is left out')
                break
            path = folder / f'{name}.json'
            before, left = left, json.loads(path.read_text())['left'] if path.exists() else None
            fresh = []
            if left == before:
                print(f'{name}: {left} cases are left, and none was measured')
                break


def main() -> None:
    args = parse_args()
    import torch
    from gpu_page import fill_in_scaling, write_page
    from gpu_parts import PARTS
    from recording import RESULTS, result_path

    if args.list:
        print('\n'.join(f'{name:24} {part.title}' for name, part in PARTS.items()))
        return
    if args.part and args.part not in PARTS:
        sys.exit(f'gpu_report: no part {args.part!r}; the parts are {", ".join(PARTS)}')
    args.device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    if args.device == 'cuda' and not torch.cuda.is_available():
        sys.exit('gpu_report: --device cuda, but torch finds no GPU; --device cpu runs small sizes')
    folder = args.output or result_path('gpu', args.device).with_suffix('')
    if args.part:
        run_part(args.part, args.device, folder, args.minutes, args.fresh)
    else:
        run_all(list(PARTS), args, folder)
    print(write_page(folder))
    if args.device == 'cuda' and folder.parent == RESULTS:
        fill_in_scaling(RESULTS)


if __name__ == '__main__':
    main()
