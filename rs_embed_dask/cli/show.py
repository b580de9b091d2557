"""What the command line prints: tables and reports for a person, JSON for a program, errors on the other stream."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask.errors import SpecError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from distributed import Client

    from rs_embed_dask.cli.options import ClusterOptions
    from rs_embed_dask.engine.watch import Progress
    from rs_embed_dask.store import Status, StatusReport
    from rs_embed_dask.store.map_status import MapStatus
    from rs_embed_dask.store.services import StorageOptions

__all__ = [
    "against_plan",
    "connection",
    "exit_code",
    "json_text",
    "part_counts",
    "problem",
    "progress",
    "status_dict",
    "table",
    "text",
]

DECIMALS = 4
LONG_WORD: Final = 15  # a longer one, such as an address, may be broken


def text(value: object) -> None:
    """Print a value as it describes itself; what a terminal would obey is escaped."""
    print(printable(str(value)))  # noqa: T201  what a command prints


def problem(message: str) -> None:
    """Print an error as one message on the error stream."""
    print(printable(f"error: {message}"), file=sys.stderr)  # noqa: T201  what a command prints


def json_text(value: object) -> None:
    """Print JSON."""
    text(json.dumps(value, indent=2, default=str, ensure_ascii=False))


def table(rows: Sequence[Mapping[str, object]], *, title: str | None = None, ruled: bool = False) -> None:
    """Print rows as a table: whole words in a terminal, tab-separated lines where the output is piped."""
    # `ruled` draws a line between rows of several lines; a cell with line breaks of its own is not wrapped.
    from rich.console import Console
    from rich.table import Table

    if not rows:
        return
    names = list(rows[0])
    if not sys.stdout.isatty():
        for row in (dict(zip(names, names, strict=True)), *rows):
            text("\t".join(" ".join(str(row[name]).split()) for name in names))
        return
    drawn = Table(title=title, title_justify="left", header_style="bold", show_lines=ruled, pad_edge=False)
    for name in names:
        words = [len(word) for row in rows for word in str(row[name]).split()]
        drawn.add_column(
            name, no_wrap=any("\n" in str(row[name]) for row in rows), min_width=min(LONG_WORD, max(words, default=1))
        )
    for row in rows:
        drawn.add_row(*(printable(str(row[name])) for name in names))
    # what is stored may hold square brackets, which are markup to rich
    Console(markup=False, emoji=False, highlight=False).print(drawn)


def exit_code(counts: Mapping[str, Mapping[Status, int]]) -> int:
    """Return 1 if any item failed or is pending, else 0."""
    from rs_embed_dask.store import DONE

    return int(any(n for of_model in counts.values() for status, n in of_model.items() if status not in DONE))


def part_counts(path: str, storage: StorageOptions | None, part: tuple[int, int]) -> dict[str, dict[Status, int]]:
    """Count the items of one part by model and status: what the others have yet to do is not its failure."""
    from rs_embed_dask.store import Part, Store
    from rs_embed_dask.store.target import located

    store = Store.open(located(path, storage))
    return store.counts(chunks=Part(*part).chunks(store.n_chunks))


def status_dict(report: StatusReport | MapStatus, rows: Sequence[Mapping[str, object]] | None) -> dict[str, Any]:
    """Turn a report into JSON."""
    from rs_embed_dask.store import StatusReport

    counts = {
        label: {status.name.lower(): n for status, n in by_status.items()} for label, by_status in report.counts.items()
    }
    whole: dict[str, Any] = {"counts": counts}
    if isinstance(report, StatusReport):
        whole["census"] = [asdict(one) for one in report.census]
        if report.parts:
            complete = [number for number, is_done in enumerate(report.parts, 1) if is_done]
            whole["parts"] = {"count": len(report.parts), "complete": complete}
    return whole if rows is None else {**whole, report.what: list(rows)}


def chosen_rows(report: StatusReport | MapStatus, statuses: Sequence[str]) -> list[dict[str, object]]:
    """List the items with some statuses, or all of them, with short numbers and dates."""
    from rs_embed_dask.engine.request import statuses_of

    names = {status.name.lower() for status in statuses_of(statuses) or ()}
    rows = [{name: _short(row[name]) for name in report.columns} for row in report.table.to_dict("records")]
    return [row for row in rows if not names or row["status"] in names]


def _short(value: Any) -> object:
    import pandas as pd

    if value is None or value is pd.NA:
        return ""
    if hasattr(value, "isoformat"):
        return "" if value != value else value.date().isoformat()  # noqa: PLR0124  NaT, an unknown date
    if isinstance(value, str):
        return value.replace("\n", "\\n")  # a stored line break would look like a row of its own
    return round(value, DECIMALS) if isinstance(value, float) else value


def status_text(report: StatusReport | MapStatus, rows: Sequence[Mapping[str, object]] | None) -> None:
    """Print a report, and the items where rows are given."""
    text(report)
    if rows is not None:
        table(rows, title=report.what)


def against_plan(receipt: Mapping[str, Any]) -> None:
    """Print how the last run compares with its plan, where a receipt says it."""
    from rs_embed_dask.show.against import PlanReport
    from rs_embed_dask.store.accessor import REPORT

    if REPORT in receipt:
        text(f"\n{PlanReport.from_dict(receipt[REPORT])}")


@contextlib.contextmanager
def progress(*, is_quiet: bool) -> Iterator[Progress]:
    """Show the plan of a run when it begins, then its progress; nothing if quiet."""
    from rs_embed_dask.engine.progress import listeners_for, shows_plan
    from rs_embed_dask.engine.report import emit

    with contextlib.ExitStack() as stack:
        yield False if is_quiet else functools.partial(emit, (shows_plan(text), *listeners_for(True, stack)))


def connection(place: ClusterOptions) -> Callable[[], AbstractContextManager[Client]]:
    """Return what connects, once a run has work for it, to the cluster at an address or to a local one."""
    from rs_embed_dask.engine.clusters import local_client

    if place.cluster is not None:
        return functools.partial(_connected, place.cluster)
    return functools.partial(local_client, processes=place.workers)


def _connected(address: str) -> Client:
    from distributed import Client

    try:
        return Client(address)
    except (OSError, ValueError) as error:
        fix = "check the address, such as tcp://host:8786, and that the scheduler runs; or leave --cluster out"
        cause = f"no Dask scheduler answers there ({type(error).__name__})"
        raise SpecError("--cluster", value=address, reason=cause, fix=fix) from error
