"""A report as text and as HTML."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from html import escape

_WIDTH = 100
_LINE = re.compile(r":\d+$")
_LEAST = 16
"""Characters that a column keeps in any case."""


def wrapped(text: str, first: str = "", later: str | None = None) -> list[str]:
    """Text in lines of at most 100 characters; source lines and names stay whole."""
    if not text:
        return []
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=first if later is None else later,
        break_long_words=False,
        break_on_hyphens=False,
    )


def align(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    left: Iterable[str],
    give: Sequence[str] = (),
) -> str:
    """A table; the columns named by `left` are text, the others numbers.

    Where it is wider than 100 characters, the columns named by `give` are shortened in turn.
    """
    text = set(left)
    widths = [max(len(row[c]) for row in [columns, *rows]) for c in range(len(columns))]
    for name in give:
        over = sum(widths) + 2 * (len(widths) - 1) - _WIDTH
        c = columns.index(name)
        least = max(widths[c] - over, _LEAST)
        if over > 0 and widths[c] > least:
            widths[c] = least
            rows = [[*row[:c], _cut(row[c], least), *row[c + 1 :]] for row in rows]
    lines = []
    for row in [columns, *rows]:
        cells = [
            cell.ljust(width) if name in text else cell.rjust(width)
            for cell, width, name in zip(row, widths, columns)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _cut(text: str, width: int) -> str:
    """Text in no more characters; of a source line its end."""
    if len(text) <= width:
        return text
    if _LINE.search(text):
        return "..." + text[3 - width :]
    return text[: width - 3].rstrip(" ,") + "..."


_STYLE = """
.ln-report{font:14px/1.45 system-ui,sans-serif;max-width:60em;color:inherit}
.ln-report code{font:12.5px ui-monospace,monospace;background:#8882;padding:0 .25em;
border-radius:3px}
.ln-report p{margin:.4em 0}
.ln-report ol{margin:.6em 0;padding-left:1.6em}
.ln-report li{margin:.7em 0}
.ln-report .remedy{border-left:3px solid #2da44e;padding-left:.6em}
.ln-report .quiet{opacity:.75}
.ln-report table{border-collapse:collapse;margin-top:.8em;font-size:13px;color:inherit}
.ln-report td,.ln-report th{padding:.15em .8em;text-align:right;border:0;
border-bottom:1px solid #8884;background:none;color:inherit}
.ln-report .text{text-align:left}
"""


def as_html(
    head: str,
    costliest: str,
    verdict: str,
    findings: Sequence[tuple[str, str, str]],
    more: str,
    table: tuple[Sequence[str], Sequence[Sequence[str]]],
    footnote: str,
) -> str:
    """The report for a notebook: (saving, text, remedy) for each finding, then the table."""
    parts = [f"<p><b>{_marked(head)}</b></p>"]
    parts += [f"<p>{_marked(costliest)}</p>"] if costliest else []
    parts += [f"<p>{_marked(verdict)}</p>"] if verdict else []
    if findings:
        parts.append("<ol>")
        parts += [
            f"<li><b>{_marked(saving)}</b><p>{_marked(text)}</p>"
            f"<p class='remedy'>{_marked(remedy)}</p></li>"
            for saving, text, remedy in findings
        ]
        parts.append("</ol>")
    parts += [f"<p class='quiet'>{_marked(more)}</p>"] if more else []
    columns, rows = table
    if rows:
        parts.append(html_table(columns, rows, columns[:2]))
    parts += [f"<p class='quiet'>{_marked(footnote)}</p>"] if footnote and rows else []
    return framed(parts)


def framed(parts: Sequence[str]) -> str:
    """Parts of a report with the style that they share, readable on light and dark."""
    return "\n".join([f"<div class='ln-report'><style>{_STYLE}</style>", *parts, "</div>"])


def html_table(columns: Sequence[str], rows: Sequence[Sequence[str]], left: Iterable[str]) -> str:
    """A table; the columns named are text, the others numbers."""
    text = set(left)

    def line(cells: Sequence[str], tag: str) -> str:
        kinds = [f"{tag} class='text'" if name in text else tag for name in columns]
        parts = [f"<{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, cells)]
        return f"<tr>{''.join(parts)}</tr>"

    return "\n".join(["<table>", line(columns, "th"), *[line(r, "td") for r in rows], "</table>"])


def _marked(text: str) -> str:
    """HTML of a text in which source lines and code stand between backticks."""
    return re.sub("`([^`]*)`", r"<code>\1</code>", escape(text, quote=False))
