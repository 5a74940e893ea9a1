"""A report as text and as HTML."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from html import escape

_WIDTH = 100


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


def align(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; the first two columns are text, the others numbers."""
    widths = [max(len(row[c]) for row in [columns, *rows]) for c in range(len(columns))]
    lines = []
    for row in [columns, *rows]:
        cells = [
            cell.ljust(width) if c < 2 else cell.rjust(width)
            for c, (cell, width) in enumerate(zip(row, widths))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


_STYLE = """
.ln-explain{font:14px/1.45 system-ui,sans-serif;max-width:60em;color:inherit}
.ln-explain code{font:12.5px ui-monospace,monospace;background:#8882;padding:0 .25em;
border-radius:3px}
.ln-explain p{margin:.4em 0}
.ln-explain ol{margin:.6em 0;padding-left:1.6em}
.ln-explain li{margin:.7em 0}
.ln-explain .remedy{border-left:3px solid #2da44e;padding-left:.6em}
.ln-explain .quiet{opacity:.75}
.ln-explain table{border-collapse:collapse;margin-top:.8em;font-size:13px;color:inherit}
.ln-explain td,.ln-explain th{padding:.15em .8em;text-align:right;border:0;
border-bottom:1px solid #8884;background:none;color:inherit}
.ln-explain td:nth-child(-n+2),.ln-explain th:nth-child(-n+2){text-align:left}
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
    parts = [f"<div class='ln-explain'><style>{_STYLE}</style><p><b>{_marked(head)}</b></p>"]
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
        parts.append("<table><tr>" + "".join(f"<th>{escape(c)}</th>" for c in columns) + "</tr>")
        parts += [
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
        ]
        parts.append("</table>")
    parts += [f"<p class='quiet'>{_marked(footnote)}</p>"] if footnote and rows else []
    return "\n".join([*parts, "</div>"])


def _marked(text: str) -> str:
    """HTML of a text in which source lines and code stand between backticks."""
    return re.sub("`([^`]*)`", r"<code>\1</code>", escape(text, quote=False))
