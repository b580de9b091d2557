"""Tables for people: plain text for a terminal, HTML for a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

__all__ = ["as_html", "as_text"]

Rows = Sequence[Sequence[str]]


def as_text(title: str, header: Sequence[str], rows: Rows) -> str:
    """Write a table in columns.

    Parameters
    ----------
    title : str
        Its first line.
    header : sequence of str
        Names of the columns; empty for none.
    rows : sequence of sequence of str
        Its cells.

    Returns
    -------
    str
        Lines without trailing spaces.
    """
    lines = [list(header), *map(list, rows)] if any(header) else [list(row) for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    written = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    ]
    return "\n".join([title, *(f"  {line}" for line in written)])


def as_html(title: str, header: Sequence[str], rows: Rows) -> str:
    """Write a table as HTML; every cell is escaped.

    Parameters
    ----------
    title : str
        Its caption.
    header : sequence of str
        Names of the columns; empty for none.
    rows : sequence of sequence of str
        Its cells.

    Returns
    -------
    str
    """
    head = f"<tr>{''.join(f'<th>{escape(cell)}</th>' for cell in header)}</tr>" if any(header) else ""
    style = ' style="text-align:left"'
    body = "".join(f"<tr>{''.join(f'<td{style}>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    caption = f'<caption style="text-align:left;font-weight:bold">{escape(title)}</caption>'
    return f"<table>{caption}<thead>{head}</thead><tbody>{body}</tbody></table>"
