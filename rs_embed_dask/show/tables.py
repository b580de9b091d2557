"""Pages out of titled lists, tables and code, as text for a terminal, as HTML and as Markdown."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "Section",
    "page_html",
    "page_markdown",
    "page_text",
    "table_html",
    "table_text",
]

Rows = Sequence[Sequence[str]]


def table_text(title: str, header: Sequence[str], rows: Rows) -> str:
    """Write a table in columns."""
    lines = [list(header), *map(list, rows)] if any(header) else [list(row) for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    written = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    ]
    return "\n".join([title, *(f"  {line}" for line in written)])


def table_html(title: str, header: Sequence[str], rows: Rows) -> str:
    """Write a table as HTML; every cell is escaped."""
    head = f"<tr>{''.join(f'<th>{escape(cell)}</th>' for cell in header)}</tr>" if any(header) else ""
    style = ' style="text-align:left"'
    body = "".join(f"<tr>{''.join(f'<td{style}>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    caption = f'<caption style="text-align:left;font-weight:bold">{escape(title)}</caption>'
    return f"<table>{caption}<thead>{head}</thead><tbody>{body}</tbody></table>"


WIDTH: Final = 100
INDENT: Final = "  "
LAST: Final = 36
"""Columns that the last cell of a row needs, in which it is wrapped."""

SectionRows = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """A titled part of a page."""

    title: str
    rows: SectionRows = ()
    header: tuple[str, ...] = ()
    code: str = ""

    @property
    def is_list(self) -> bool:
        """Whether the rows are single points."""
        return not self.header and all(len(row) == 1 for row in self.rows)


def page_text(title: str, sections: Iterable[Section]) -> str:
    """Write a page for a terminal of 100 columns."""
    parts = [_plain(title)]
    for section in sections:
        lines = [f"{_plain(section.title)}:", *_text_rows(section)]
        lines += [f"{INDENT}{line}".rstrip() for line in section.code.splitlines()]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _text_rows(section: Section) -> list[str]:
    if section.is_list:
        return [line for (point,) in section.rows for line in _wrapped(_plain(point), "- ")]
    rows = [tuple(map(_plain, row)) for row in section.rows]
    if not section.header:
        width = max((len(name) for name, _ in rows), default=0)
        return [line for name, text in rows for line in _wrapped(text, f"{name:<{width}}  ")]
    table = [section.header, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(section.header))]
    if sum(widths[:-1]) + 2 * len(widths) + min(widths[-1], LAST) > WIDTH:
        return [line for row in rows for line in _wrapped(_told(section.header, row), f"{row[0]}: ", again="    ")]
    starts = ("".join(f"{cell:<{width}}  " for cell, width in zip(row, widths[:-1], strict=False)) for row in table)
    return [line for start, row in zip(starts, table, strict=True) for line in _wrapped(row[-1], start)]


def _told(header: Sequence[str], row: Sequence[str]) -> str:
    """Write a row that is too wide for a table: what each column says, but for the first."""
    return "; ".join(f"{name} {cell}" for name, cell in zip(header[1:], row[1:], strict=True) if cell)


def _wrapped(text: str, first: str, again: str | None = None) -> list[str]:
    later = INDENT + (" " * len(first) if again is None else again)
    found = textwrap.wrap(
        text,
        WIDTH,
        initial_indent=INDENT + first,
        subsequent_indent=later,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return found or [f"{INDENT}{first}".rstrip()]


def _plain(text: str) -> str:
    return text.replace("`", "")


def page_markdown(title: str, sections: Iterable[Section]) -> str:
    """Write a page of Markdown."""
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
    rule = "|".join(["---"] * len(header))
    return [_line(header), f"|{rule}|", *(_line(row) for row in section.rows)]


def _line(row: Sequence[str]) -> str:
    cells = " | ".join(cell.replace("|", "\\|") for cell in row)
    return f"| {cells} |"


def page_html(title: str, sections: Iterable[Section]) -> str:
    """Write a page of HTML for a notebook."""
    parts = [f"<h3>{_escaped(title)}</h3>"]
    for section in sections:
        parts.append(f"<h4>{_escaped(section.title)}</h4>")
        if section.is_list and section.rows:
            parts.append("<ul>" + "".join(f"<li>{_escaped(point)}</li>" for (point,) in section.rows) + "</ul>")
        elif section.rows:
            head = "".join(f"<th>{_escaped(name)}</th>" for name in section.header)
            body = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in section.rows)
            parts.append(f"<table><tr>{head}</tr>{body}</table>" if head else f"<table>{body}</table>")
        if section.code:
            parts.append(f"<pre>{html.escape(section.code)}</pre>")
    return "".join(parts)


def _escaped(text: str) -> str:
    return html.escape(_plain(text))


def _cell(text: str) -> str:
    return f"<td style='text-align:left'>{_escaped(text)}</td>"
