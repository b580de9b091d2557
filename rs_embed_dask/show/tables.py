"""Pages of titled lists, tables and code, as text for a terminal, as HTML for a notebook and as Markdown."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from rs_embed_dask.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "Counts",
    "Row",
    "Section",
    "ShareBar",
    "bytes_text",
    "counted",
    "page_html",
    "page_markdown",
    "page_text",
    "seconds_text",
    "table_html",
    "table_text",
]

WIDTH: Final = 100
INDENT: Final = "  "
LAST: Final = 36
"""Minimum width of the last cell of a row, within which it is wrapped."""

_BAR: Final = 24
# Translucent borders and no background of our own, so that a page suits light and dark notebooks.
_STYLE: Final = """
.rse{font:13px/1.45 system-ui,sans-serif;max-width:60em;border:1px solid #8884;border-radius:8px}
.rse{padding:12px 16px;margin:4px 0}.rse h3{margin:0 0 2px;font-size:14px;word-break:break-all}
.rse h4{margin:12px 0 4px;font-size:12px;letter-spacing:.04em;text-transform:uppercase;opacity:.7}
.rse .bar{display:flex;height:14px;min-width:16em;border-radius:7px;overflow:hidden;background:#8883}
.rse .bar span{min-width:2px}.rse table{border-collapse:collapse;width:100%;background:none}
.rse th{text-align:left}.rse td,.rse th{padding:3px 10px 3px 0;vertical-align:middle;background:none;border:0}
.rse .dot{display:inline-block;width:9px;height:9px;border-radius:50%;margin:0 5px 0 0}
.rse .key{margin-right:14px;white-space:nowrap}.rse code{font-size:12px;background:none;color:inherit}
"""


@dataclass(frozen=True)
class Counts:
    """A cell that counts things of several kinds: ``6 ok, 1 no data``."""

    parts: tuple[tuple[int, str, str], ...]  # (count, kind, its colour)

    def __str__(self) -> str:
        return ", ".join(f"{count:,} {kind}" for count, kind, _ in self.parts)

    def to_html(self) -> str:
        """Return each count after a dot of its colour."""
        dot = "<span class='key'><span class='dot' style='background:{}'></span>{:,} {}</span>"
        return "".join(dot.format(colour, count, html.escape(kind)) for count, kind, colour in self.parts)


@dataclass(frozen=True)
class ShareBar:
    """A cell that shows the parts of a whole as a bar, and in text how much of it is done."""

    counts: Counts
    done: float  # 0 to 1

    def __str__(self) -> str:
        filled = int(self.done * _BAR)
        return f"[{'#' * filled}{'.' * (_BAR - filled)}] {self.done:4.0%} done"

    def to_html(self) -> str:
        """Draw the bar in the colours of its parts."""
        part = "<span style='flex:{0};background:{2}' title='{0:,} {1}'></span>"
        spans = (part.format(count, html.escape(kind), colour) for count, kind, colour in self.counts.parts)
        return f"<div class='bar'>{''.join(spans)}</div>"


Cell: TypeAlias = "str | Counts | ShareBar"
Row: TypeAlias = "Sequence[str | Counts | ShareBar]"


@dataclass(frozen=True)
class Section:
    """A part of a page: a list if each row is one text, else a table; without a title it continues the one above."""

    title: str = ""
    rows: Sequence[Row] = ()
    header: Sequence[str] = ()
    code: str = ""

    @property
    def is_list(self) -> bool:
        """Whether every row is a single point."""
        return not self.header and all(len(row) == 1 for row in self.rows)


def counted(count: int, noun: str, plural: str = "") -> str:
    """Format a count with its noun: ``1 model``, ``2,000 models``, ``2 batches``."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")
_STEP: Final = 1000
_FEW_S: Final = 10.0
_MINUTE_S: Final = 60.0
_HOUR_S: Final = 3600.0
_DAY_S: Final = 86400.0


def bytes_text(count: float) -> str:
    """Write a number of bytes with its unit, in powers of 1000.

    Examples
    --------
    >>> bytes_text(1_532_000)
    '1.53 MB'
    """
    unit = 0
    while count >= _STEP and unit < len(_UNITS) - 1:
        count /= _STEP
        unit += 1
    return f"{count:.0f} B" if unit == 0 else f"{count:.3g} {_UNITS[unit]}"


def seconds_text(seconds: float) -> str:
    """Write a duration with its unit.

    Examples
    --------
    >>> seconds_text(5400)
    '1.5 h'
    """
    if seconds < _MINUTE_S:
        return f"{seconds:.2g} s" if seconds < _FEW_S else f"{seconds:.0f} s"
    if seconds < _HOUR_S:
        return f"{seconds / _MINUTE_S:.1f} min"
    return f"{seconds / _HOUR_S:.1f} h" if seconds < _DAY_S else f"{seconds / _DAY_S:.1f} days"


def table_text(title: str, header: Sequence[str], rows: Sequence[Row]) -> str:
    """Format one table for a terminal; the header may be empty texts."""
    return page_text(title, [Section("", rows, header if any(header) else ())])


def table_html(title: str, header: Sequence[str], rows: Sequence[Row]) -> str:
    """Format one table for a notebook; the header may be empty texts."""
    return page_html(title, [Section("", rows, header if any(header) else ())])


def page_text(title: str, sections: Iterable[Section]) -> str:
    """Format a page for a terminal of 100 columns."""
    lines = [_plain(title)]
    for section in sections:
        lines += ["", f"{_plain(section.title)}:"] if section.title else []
        lines += _text_rows(section)
        lines += [f"{INDENT}{line}".rstrip() for line in section.code.splitlines()]
    return "\n".join(lines)


def _text_rows(section: Section) -> list[str]:
    rows = [tuple(map(_plain, row)) for row in section.rows]
    if section.is_list:
        return [line for (point,) in rows for line in _wrapped(point, "- ")]
    lines = [tuple(section.header), *rows] if section.header else rows
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    needed = sum(widths[:-1]) + 2 * len(widths) + min(widths[-1], LAST)
    if section.header and needed > WIDTH:
        return [line for row in rows for line in _wrapped(_named(section.header, row), f"{row[0]}: ", again="    ")]
    starts = ("".join(f"{cell:<{width}}  " for cell, width in zip(row, widths[:-1], strict=False)) for row in lines)
    return [line for start, row in zip(starts, lines, strict=True) for line in _wrapped(row[-1], start)]


def _named(header: Sequence[str], row: Sequence[str]) -> str:
    """Format a row that is too wide for a table: each cell but the first after the name of its column."""
    return "; ".join(f"{name} {cell}" for name, cell in zip(header[1:], row[1:], strict=True) if cell)


def _wrapped(text: str, first: str, again: str | None = None) -> list[str]:
    lines = textwrap.wrap(
        text,
        WIDTH,
        initial_indent=INDENT + first,
        subsequent_indent=INDENT + (" " * len(first) if again is None else again),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines or [f"{INDENT}{first}".rstrip()]


def _plain(cell: Cell) -> str:
    return printable(str(cell)).replace("`", "")


def page_markdown(title: str, sections: Iterable[Section]) -> str:
    """Format a page as Markdown."""
    parts = [f"# {title}"]
    for section in sections:
        parts.append(f"## {section.title}")
        if section.rows:
            parts.append("\n".join(_markdown_rows(section)))
        if section.code:
            parts.append(f"```python\n{section.code}\n```")
    return "\n\n".join(parts) + "\n"


def _markdown_rows(section: Section) -> list[str]:
    if section.is_list:
        return [f"- {point}" for (point,) in section.rows]
    header = section.header or ("", "")
    return [_markdown_row(header), f"|{'|'.join(['---'] * len(header))}|", *map(_markdown_row, section.rows)]


def _markdown_row(row: Row) -> str:
    cells = " | ".join(str(cell).replace("|", "\\|") for cell in row)
    return f"| {cells} |"


def page_html(title: str, sections: Iterable[Section]) -> str:
    """Format a page as one HTML element with its own style; every text is escaped."""
    parts = [f"<style>{_STYLE}</style><div class='rse'><h3>{_html(title)}</h3>"]
    for section in sections:
        parts.append(f"<h4>{_html(section.title)}</h4>" if section.title else "")
        if section.is_list and section.rows:
            parts.append("<ul>" + "".join(f"<li>{_html(point)}</li>" for (point,) in section.rows) + "</ul>")
        elif section.rows:
            head = "".join(f"<th>{_html(name)}</th>" for name in section.header)
            body = "".join(f"<tr>{''.join(map(_html_cell, row))}</tr>" for row in section.rows)
            parts.append(f"<table><tr>{head}</tr>{body}</table>" if head else f"<table>{body}</table>")
        if section.code:
            parts.append(f"<pre>{html.escape(section.code)}</pre>")
    return "".join([*parts, "</div>"])


def _html_cell(cell: Cell) -> str:
    # The style is written into each cell, because some viewers of notebooks drop style elements.
    return f'<td style="text-align:left">{_html(cell)}</td>'


def _html(cell: Cell) -> str:
    return html.escape(_plain(cell)) if isinstance(cell, str) else cell.to_html()
