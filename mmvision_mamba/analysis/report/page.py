"""The HTML that a report is made of: no script, nothing from outside the file."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1200px; padding: 0 20px 60px; background: #fff; color: #1a1a1a;
  font: 15px/1.5 system-ui, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif; }
h1 { font-size: 26px; line-height: 1.25; margin: 28px 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 20px; margin: 44px 0 8px; padding-top: 8px; border-top: 2px solid #1a1a1a; }
h3 { font-size: 16px; margin: 26px 0 6px; }
p { max-width: 75ch; margin: 6px 0 12px; }
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 14px 0; }
a { color: #0054a0; }
.facts { color: #444; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: 8px 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 10px 3px 0; text-align: left; vertical-align: middle;
  border-bottom: 1px solid #ddd; }
th { font-weight: 600; border-bottom: 1px solid #888; white-space: nowrap; }
td.n, th.n { text-align: right; white-space: nowrap; }
td.name { max-width: 440px; overflow-wrap: break-word; }
figure { margin: 12px 0 20px; min-width: 0; }
figcaption { font-size: 14px; overflow-wrap: anywhere; }
svg { display: block; }
svg text { font-family: inherit; }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(340px, 100%), 1fr));
  gap: 8px 32px; align-items: start; }
.row svg.chart { width: 100%; max-width: 560px; height: auto; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(330px, 100%), 1fr));
  gap: 10px; max-width: 1160px; }
.pair.three { grid-template-columns: repeat(auto-fit, minmax(min(270px, 100%), 1fr)); }
.pair svg { width: 100%; height: auto; max-height: 420px; }
.pair .what { font-size: 13px; color: #444; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 18px; font-size: 14px; margin: 4px 0; }
.legend span { display: inline-flex; align-items: center; gap: 6px; }
.note { border-left: 4px solid #d55e00; padding-left: 10px; }
@media print {
  body { max-width: none; padding: 0; font-size: 11pt; }
  nav { display: none; }
  .scroll { overflow: visible; }
  .scroll > svg { max-width: 100%; height: auto; }
  figure, tr { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
# Should a name ever get past the escaping, the browser runs and fetches nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        title: Plain text.
        body: HTML.
    """

    title: str
    body: str


def page(title: str, facts: Iterable[str], sections: Sequence[Section]) -> str:
    """A whole HTML file.

    Args:
        title: Plain text.
        facts: Plain text, a paragraph each, below the title.
        sections: In order.
    """
    links = ''.join(
        f'<a href="#s{number}">{escape(section.title)}</a>'
        for number, section in enumerate(sections)
    )
    body = ''.join(
        f'<section id="s{number}"><h2>{escape(section.title)}</h2>\n{section.body}</section>\n'
        for number, section in enumerate(sections)
    )
    told = ''.join(f'<p class="facts">{escape(fact)}</p>' for fact in facts)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><style>{_STYLE}</style></head>\n'
        f'<body><h1>{escape(title)}</h1>{told}<nav>{links}</nav>\n{body}</body></html>\n'
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], text: Sequence[int] = (0,)) -> str:
    """A table.

    Args:
        head: Plain text.
        rows: Cells, HTML.
        text: Which columns are text; others are numbers, set flush right.
    """

    def cells(row: Sequence[str], tag: str) -> str:
        kinds = ['name' if place in text else 'n' for place in range(len(row))]
        return ''.join(f'<{tag} class="{kind}">{cell}</{tag}>' for kind, cell in zip(kinds, row))

    body = ''.join(f'<tr>{cells(row, "td")}</tr>\n' for row in rows)
    header = cells([escape(name) for name in head], 'th')
    return (
        f'<div class="scroll"><table><thead><tr>{header}</tr></thead>\n'
        f'<tbody>{body}</tbody></table></div>\n'
    )


def figure(drawing: str, caption: str, above: str = '') -> str:
    """A drawing (HTML) with a caption (HTML) below, and maybe a heading (plain text)."""
    heading = f'<h3>{escape(above)}</h3>' if above else ''
    return f'<figure>{heading}{drawing}<figcaption>{caption}</figcaption></figure>\n'


def paragraph(text: str, *, note: bool = False) -> str:
    """Plain text; a note stands out."""
    return f'<p{" class=note" if note else ""}>{escape(text)}</p>\n'


def number(value: float, digits: int = 3) -> str:
    """A figure, or a dash of NaN."""
    return '–' if value != value else f'{value:.{digits}f}'.replace('-', '\N{MINUS SIGN}')
