"""The first pass of a run: what the position in the window adds to a vector, from items spread over all of them.

It comes before the first row is written. What it embeds is held on the cluster and not read or embedded again.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask.engine.position_plan import facts_of
from rs_embed_dask.engine.positions import FIRST_ITEMS, LEAST, PositionSums, scattered
from rs_embed_dask.engine.reading import is_fatal
from rs_embed_dask.engine.stages import Unit
from rs_embed_dask.errors import EngineError
from rs_embed_dask.specs.positions import REMOVED
from rs_embed_dask.store import UNDONE
from rs_embed_dask.store.receipt import plain

if TYPE_CHECKING:
    from distributed import Client

    from rs_embed_dask.engine.graph import FirstSums, GraphMaker
    from rs_embed_dask.engine.position_plan import PositionPlan
    from rs_embed_dask.engine.watch import Watch
    from rs_embed_dask.specs.positions import PositionTable
    from rs_embed_dask.store import Store

__all__ = ["GROUP", "Measured", "keep_settled", "measure"]

GROUP: Final = 16
"""Items whose windows are added up by one task."""

_TICK_S: Final = 1.0


@dataclass(eq=False)
class Measured:
    """What the first pass brought: sums and items by model, and what it embedded, by row."""

    sums: dict[str, PositionSums] = field(default_factory=dict)
    items: Counter[str] = field(default_factory=Counter)
    held: dict[int, tuple[frozenset[str], Any]] = field(default_factory=dict)

    def add(self, sums: FirstSums) -> None:
        """Add the windows of some items."""
        for label, (one, items) in sums.items():
            self.sums[label] = self.sums[label] + one if label in self.sums else one
            self.items[label] += items

    def table(self, label: str, about: Mapping[str, Any]) -> PositionTable | None:
        """Return the table of a model; its windows count once for each item, as those of one place are alike."""
        if label not in self.sums:
            return None
        return self.sums[label].table(**about).counting(self.items[label])


def _units(store: Store, rows: Sequence[int], labels: Sequence[str]) -> list[Unit]:
    """Return some items with the models that still have to embed them."""
    status = {label: store.values(label, "status") for label in labels}
    todo = {row: tuple(label for label in labels if status[label][row] in UNDONE) for row in rows}
    return [Unit(row % store.chunk_items, store.item(row), todo[row]) for row in rows if todo[row]]


def measure(
    client: Client, plans: Mapping[str, PositionPlan], *, watch: Watch, graphs: GraphMaker, at_once: int
) -> Measured:
    """Embed up to 256 items for each model, or more where too few have a vector, and add up their windows."""
    measured = Measured()
    windows = {label: one.window for label, one in plans.items()}
    samples = {label: (one.rows[place] for place in scattered(len(one.rows))) for label, one in plans.items()}
    number = 0
    while rows := _next_rows(samples, measured):
        new = [row for row in rows if row not in measured.held]
        units = _units(graphs.store, new, tuple(graphs.recipe.entry))
        groups = [units[start : start + GROUP] for start in range(0, len(units), GROUP)]
        flying: deque[tuple[list[Unit], list[Any]]] = deque()
        for part in groups:
            graph, keys = graphs.first(part, number, windows=windows, placement=watch.placement)
            number += 1
            futures: Any = client.get(graph, keys, sync=False, optimize_graph=False, fifo_timeout="0s")
            flying.append((part, futures))
            if len(flying) >= at_once:
                _land(measured, *flying.popleft(), watch=watch)
        while flying:
            _land(measured, *flying.popleft(), watch=watch)
    return measured


def _next_rows(samples: Mapping[str, Iterator[int]], measured: Measured) -> list[int]:
    """Return the next rows to embed, for the models of which too few have been measured."""
    lacking = [label for label in samples if measured.items[label] < LEAST]
    return list(dict.fromkeys(row for label in lacking for row in islice(samples[label], FIRST_ITEMS)))


def _land(measured: Measured, units: list[Unit], futures: list[Any], *, watch: Watch) -> None:
    """Take in what some items gave; those whose tasks are lost each time are left to the main pass, which says so."""
    sums, *embedded = futures
    found = _result(sums, watch)
    sums.release()
    if found is None:
        return
    measured.add(found)
    for unit, future in zip(units, embedded, strict=True):
        measured.held[unit.item.index] = frozenset(unit.labels), future


def keep_settled(store: Store, plans: Mapping[str, PositionPlan], measured: Measured) -> None:
    """Keep in the store what is decided: before the first row, as rows with and without positions cannot be mixed."""
    kept = store.receipt.get("positions", {})
    store.reload()
    now = store.receipt.get("positions", {})
    for label in [label for label in plans if now.get(label) == kept.get(label)]:  # not those that another part decided
        one = plans[label]
        table, decision = one.table, one.decision
        if decision is None:
            table = measured.table(label, one.about)
            decision = one.decided(table)
            if measured.items[label] < LEAST:
                _check_enough(label, one, measured.items[label])
                table = None
        facts = facts_of(table, decision)
        if kept.get(label) != plain(facts):
            store.keep_positions(label, facts, table=table, instead_of=kept.get(label))


def _check_enough(label: str, plan: PositionPlan, items: int) -> None:
    if plan.mode == REMOVED:
        reason = f"only {items} items have a vector of complete imagery, and {LEAST} are needed to measure them"
        fix = "repeat the call if reads failed; or pass a table, or use positions='auto'"
        raise EngineError(f"positions of {label}", value=REMOVED, reason=reason, fix=fix)


def _result(future: Any, watch: Watch) -> FirstSums | None:
    while True:
        try:
            error = future.exception(timeout=_TICK_S)
        except TimeoutError:
            watch.look()
            continue
        except CancelledError:
            watch.check()
            return None
        if error is not None and is_fatal(error):
            raise error
        result: FirstSums | None = future.result() if error is None else None
        return result
