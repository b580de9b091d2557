"""Listeners that show progress: a bar in a terminal, a line in a notebook, one line per minute in a log."""

from __future__ import annotations

import html
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask.engine.report import (
    ChunkDone,
    Delayed,
    Event,
    ItemFailed,
    Listener,
    RunFinished,
    RunStarted,
    Waiting,
    WorkerLost,
)
from rs_embed_dask.errors import SpecError, printable
from rs_embed_dask.show.tables import counted, seconds_text

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress, TaskID

    from rs_embed_dask.engine.watch import Progress

__all__ = ["Bar", "Log", "Notebook", "listeners_for", "shows_plan"]

_EVERY_S: Final = 60.0
_OFTEN_S: Final = 0.5


class Score:
    """Counts what every progress listener shows."""

    def __init__(self) -> None:
        self.chunks = self.done = self.items = self.failed = self.workers_lost = 0
        self.unit, self.waiting = "chunk", ""
        self.statuses: Counter[str] = Counter()
        self.started = time.monotonic()

    def add(self, event: Event) -> None:
        """Take an event in."""
        if isinstance(event, RunStarted):
            self.chunks, self.unit, self.started = event.chunks, event.unit, time.monotonic()
        elif isinstance(event, ChunkDone):
            self.done, self.items, self.waiting = self.chunks - event.left, self.items + event.items, ""
            for counts in event.counts.values():
                self.statuses.update({status.name.lower(): n for status, n in counts.items()})
        elif isinstance(event, ItemFailed):
            self.failed += 1
        elif isinstance(event, WorkerLost):
            self.workers_lost += 1
        elif isinstance(event, Waiting | Delayed):
            self.waiting = event.reason

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.started

    @property
    def facts(self) -> str:
        """How the items ended, and what is waited for."""
        return " | ".join(part for part in (self.counts, self.waiting) if part)

    @property
    def counts(self) -> str:
        """How the items ended."""
        return ", ".join(f"{count:,} {name}" for name, count in sorted(self.statuses.items()))

    @property
    def _each(self) -> str:
        return "item" if self.unit == "chunk" else self.unit

    @property
    def line(self) -> str:
        """The state of the run in one line."""
        share = self.done / self.chunks if self.chunks else 1.0
        left = self.seconds * (1 - share) / share if share else None
        parts = [
            f"{self.done}/{counted(self.chunks, self.unit)}",
            counted(self.items, self._each),
            self.counts,
            f"{counted(self.workers_lost, 'worker')} lost" if self.workers_lost else "",
            f"{self.items / self.seconds:.1f} {self._each}s/s" if self.seconds > 0 else "",
            "" if left is None or share >= 1 else f"{seconds_text(left)} left",
            self.waiting,
        ]
        return " | ".join(part for part in parts if part)


class Log:
    """One line per minute, and one for each notable event."""

    def __init__(self, write: Callable[[str], None] | None = None, every_s: float = _EVERY_S) -> None:
        self._write = write or _to_stderr
        self._every_s = every_s
        self._score = Score()
        self._written_at = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Take an event."""
        self._score.add(event)
        line = _notable(event)
        if line:
            self._write(line)
        elif time.monotonic() - self._written_at >= self._every_s:
            self._written_at = time.monotonic()
            self._write(self._score.line)
        if isinstance(event, RunFinished):
            self._write(_last_line(event, self._score))


class Bar:
    """A bar in a terminal."""

    def __init__(self, stack: ExitStack) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.table import Column

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.completed:.0f}/{task.total:.0f} chunks", table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[facts]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._score = Score()
        self._bar: RichProgress = Progress(*columns, console=Console(stderr=True), transient=False)
        self._task: TaskID | None = None
        self._stack = stack

    def __call__(self, event: Event) -> None:
        """Take an event."""
        self._score.add(event)
        if isinstance(event, RunStarted):
            self._stack.enter_context(self._bar)
            self._task = self._bar.add_task("embedding", total=event.chunks, facts="")
        line = _notable(event)
        if line and self._task is not None:
            self._bar.console.print(printable(line), highlight=False, markup=False)
        if isinstance(event, ChunkDone | Delayed | Waiting) and self._task is not None:
            self._bar.update(self._task, completed=self._score.done, facts=printable(self._score.facts))
        if isinstance(event, RunFinished):
            self._bar.stop()
            self._bar.console.print(printable(_last_line(event, self._score)), highlight=False, markup=False)


class Notebook:
    """One line that is rewritten in a notebook."""

    def __init__(self, display: Callable[..., Any]) -> None:
        self._display = display
        self._handle: Any = None
        self._score = Score()
        self._shown_at = 0.0

    def __call__(self, event: Event) -> None:
        """Take an event."""
        self._score.add(event)
        is_last = isinstance(event, RunFinished)
        if not is_last and time.monotonic() - self._shown_at < _OFTEN_S:
            return
        self._shown_at = time.monotonic()
        line = _last_line(event, self._score) if isinstance(event, RunFinished) else self._score.line
        shown = Line(line, self._score.done, self._score.chunks)
        if self._handle is None:
            self._handle = self._display(shown, display_id=True)
        else:
            self._handle.update(shown)


class Line:
    """A line with a bar, as a notebook shows it."""

    def __init__(self, text: str, done: int, total: int) -> None:
        self.text, self.done, self.total = text, done, total

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return f'<progress value="{self.done}" max="{max(1, self.total)}"></progress> {html.escape(self.text)}'


def shows_plan(write: Callable[[str], None]) -> Listener:
    """Return a listener that writes the plan of a run when it begins."""

    def show(event: Event) -> None:
        if isinstance(event, RunStarted):
            write(f"{event.plan}\n")

    return show


def listeners_for(progress: Progress, stack: ExitStack) -> tuple[Listener, ...]:
    """Choose the listeners that show progress."""
    if callable(progress):
        return (progress,)
    if progress is False:
        return ()
    if progress == "log":
        return (Log(),)
    display = _notebook_display()
    if display is not None and progress in {True, "bar"}:
        return (Notebook(display),)
    if progress == "bar" or (progress is True and sys.stderr.isatty()):
        return (Bar(stack),)
    if progress is True:
        return (Log(),)
    raise SpecError(
        "progress",
        value=progress,
        reason="there is no such way to show progress",
        fix="use True, False, 'bar', 'log' or a function",
    )


def _notebook_display() -> Callable[..., Any] | None:
    """IPython's ``display`` where this runs in a notebook's kernel."""
    if "ipykernel" not in sys.modules:
        return None
    from IPython.display import display

    show: Callable[..., Any] = display
    return show


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {printable(line)}\n")
    sys.stderr.flush()


def _notable(event: Event) -> str:
    if isinstance(event, RunStarted):
        return f"{counted(event.chunks, event.unit)} to do on {counted(event.workers, 'worker')} -> {event.store}"
    if isinstance(event, WorkerLost):
        return f"worker {event.address} is gone, {event.left} left; its work is repeated elsewhere"
    return event.reason if isinstance(event, Waiting) else ""


def _last_line(event: RunFinished, score: Score) -> str:
    if event.interrupted:
        stored = f"{score.done} of {counted(score.chunks, score.unit)} stored"
        return f"stopped: {stored}; resume({event.report.store!r}) continues from there"
    return f"done in {seconds_text(event.report.seconds)}: {score.counts or 'nothing was left to do'}"
