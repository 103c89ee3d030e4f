"""A report as one HTML page that opens from disk: pictures are inside it, nothing is fetched from anywhere."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 76rem; background: #fff; color: #1f2328;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
  overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem; padding-top: .6rem; border-top: 1px solid #d0d7de; }
p { margin: .5rem 0; max-width: 46rem; }
.facts { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1rem 0; padding: 0; list-style: none; }
.facts li { flex: 1 1 9.5rem; padding: .6rem .8rem; background: #f6f7f9; border-radius: .4rem; }
.facts b { display: block; font-size: 1.35rem; }
.facts span, figcaption { color: #59636e; font-size: .875rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 1rem 2rem;
  align-items: start; }
figure { margin: .5rem 0; min-width: 0; }
figure img { display: block; width: 100%; max-width: 37rem; height: auto; }
figure.wide img { max-width: 56rem; }
.scroll { overflow-x: auto; }
.scroll:focus-visible { outline: 2px solid #0072b2; }
figure.wide .scroll img { min-width: 40rem; }
table { border-collapse: separate; border-spacing: 0; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid #d0d7de; text-align: right; white-space: nowrap; }
th:first-child, td:first-child, td.text, th.text { text-align: left; }
th:first-child, td:first-child { position: sticky; left: 0; background: #fff; }
@media (max-width: 40rem) { th:first-child, td:first-child { min-width: 8rem; white-space: normal; } }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  .figures { grid-template-columns: 1fr 1fr; gap: .5rem 1rem; }
  .scroll { overflow: visible; }
  figure.wide .scroll img { min-width: 0; }
  figure, tr, .facts li { break-inside: avoid; }
  h2 { break-after: avoid; }
  table { font-size: 8pt; }
}
"""


class Picture(NamedTuple):
    """A PNG with the words that stand for it where it cannot be seen, and those beneath it."""

    path: Path
    alt: str
    caption: str
    wide: bool = False  # larger than a phone: it is scrolled there


class Table(NamedTuple):
    """A table; the first column and those in ``text`` are words, the others numbers."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: Sequence[int] = ()


class Section(NamedTuple):
    """A heading with paragraphs, pictures and perhaps a table."""

    title: str
    paragraphs: Sequence[str]
    pictures: Sequence[Picture] = ()
    table: Table | None = None


def report_page(title: str, lead: Sequence[str], facts: Sequence[tuple[str, str]], sections: Sequence[Section]) -> str:
    """The page; ``facts`` are a figure and what it is, each. All words are plain text."""
    cards = "".join(f"<li><b>{escape(value)}</b><span>{escape(name)}</span></li>" for value, name in facts)
    return (
        "<!doctype html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,"><style>{STYLE}</style></head>\n'
        f"<body><header><h1>{escape(title)}</h1>{_paragraphs(lead)}</header>\n"
        f'<main><ul class="facts">{cards}</ul>\n' + "\n".join(map(_section, sections)) + "</main></body></html>\n"
    )


def _section(section: Section) -> str:
    pictures = "".join(map(_figure, section.pictures))
    figures = f'<div class="figures">{pictures}</div>' if len(section.pictures) > 1 else pictures
    table = _table(section.table) if section.table else ""
    return f"<section><h2>{escape(section.title)}</h2>{_paragraphs(section.paragraphs)}{figures}{table}</section>"


def _paragraphs(paragraphs: Sequence[str]) -> str:
    return "".join(f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs)


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.path.read_bytes()).decode()
    image = f'<img src="data:image/png;base64,{data}" alt="{escape(picture.alt)}">'
    if picture.wide:
        image = f'<div class="scroll" tabindex="0">{image}</div>'
    kind = ' class="wide"' if picture.wide else ""
    return f"<figure{kind}>{image}<figcaption>{escape(picture.caption)}</figcaption></figure>"


def _table(table: Table) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        kinds = (' class="text"' if column in table.text else "" for column in range(len(cells)))
        return "<tr>" + "".join(f"<{tag}{k}>{escape(c)}</{tag}>" for c, k in zip(cells, kinds, strict=True)) + "</tr>"

    body = "".join(row(cells, "td") for cells in table.rows)
    return (
        f'<div class="scroll" tabindex="0"><table><thead>{row(table.head, "th")}</thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
