"""A status report as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rs_embed_dask.store.codes import DONE, Status

if TYPE_CHECKING:
    from rs_embed_dask.store.status import ReasonCount, StatusReport

__all__ = ["as_text", "counted", "next_step", "status_name"]

_BAR: Final = 24
_MOST_LINES: Final = 12


def status_name(code: Status) -> str:
    """Write a status as it is read: ``read failed``."""
    return code.name.lower().replace("_", " ")


def counted(count: int, noun: str) -> str:
    """Write a number of things: ``1 model``, ``2,000 models``."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def next_step(report: StatusReport) -> str:
    """Say what can be done now, in one line."""
    pending = sum(counts.get(Status.PENDING, 0) for counts in report.counts.values())
    if pending:
        return f"{pending:,} still to compute: run the same request again, or resume(path)"
    if report.n_retryable:
        return f"finished; {counted(report.n_retryable, 'failure')} may be retried with resume(path)"
    return "finished"


def as_text(report: StatusReport) -> str:
    """Write a status report as lines of text."""
    store = report.store
    sizes = f"{counted(store.n_items, 'item')}, {counted(len(store.labels), 'model')}"
    lines = [
        f"Store {store.location.name}",
        f"{sizes}, made {store.created}; {next_step(report)}",
    ]
    width = max(len(label) for label in store.labels)
    for label, counts in report.counts.items():
        listed = ", ".join(f"{count:,} {status_name(code)}" for code, count in sorted(counts.items(), key=_by_worth))
        lines.append(f"  {label:<{width}}  {_bar(counts, store.n_items)}  {listed}")
    if report.failures:
        lines.append("Reasons")
        lines += [f"  {_reason_line(one)}" for one in report.failures[:_MOST_LINES]]
        if len(report.failures) > _MOST_LINES:
            lines.append(f"  and {len(report.failures) - _MOST_LINES} more reasons: see .failures")
    if report.gaps:
        lines.append("Frames without data")
        lines += [f"  {one.label}: {one}" for one in report.gaps]
    return "\n".join(lines)


def _by_worth(pair: tuple[Status, int]) -> tuple[bool, int]:
    return pair[0] is Status.PENDING, int(pair[0])


def _bar(counts: dict[Status, int], total: int) -> str:
    done = sum(count for code, count in counts.items() if code in DONE)
    share = done / total
    filled = int(share * _BAR)
    return f"[{'#' * filled}{'.' * (_BAR - filled)}] {share:4.0%} done"


def _reason_line(one: ReasonCount) -> str:
    rows = ", ".join(str(row) for row in one.items)
    more = ", ..." if one.count > len(one.items) else ""
    word = "item" if one.count == 1 else "items"
    return (
        f"{one.label}: {one.count:,} {status_name(one.status)}: {one.reason or 'no reason given'} ({word} {rows}{more})"
    )
