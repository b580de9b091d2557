"""What a run does about the positions of tokens in windows: what is measured, what was given, what was decided."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from rs_embed_dask.engine.positions import FIRST_ITEMS, LEAST, OF_ITEMS, Decision, decide
from rs_embed_dask.errors import PlanError, SpecError, StoreError, StoreMismatchError
from rs_embed_dask.show.tables import counted
from rs_embed_dask.specs import PointBuffer
from rs_embed_dask.specs.positions import KEPT, MEASURED, MODES, NO_WINDOWS, PASSED, REMOVED, PositionTable
from rs_embed_dask.store import ItemColumns, MapView, Status, Store
from rs_embed_dask.store.document import MAP, Location, kind_of

if TYPE_CHECKING:
    from rs_embed_dask.engine.recipe import Chosen
    from rs_embed_dask.engine.request import Request
    from rs_embed_dask.specs import Spatial
    from rs_embed_dask.store import Item, StoreView

__all__ = [
    "PositionPlan",
    "SettledPositions",
    "check_given",
    "facts_of",
    "given_tables",
    "position_plans",
    "settled_positions",
]


class SettledPositions(NamedTuple):
    """What a store says of one model's positions."""

    table: PositionTable | None
    decision: Decision


@dataclass(frozen=True, eq=False)
class PositionPlan:
    """What a run does about the positions of one model's tokens."""

    mode: str
    about: Mapping[str, Any] = field(default_factory=dict)
    window: int = 0
    """Tokens per side of the windows that are measured."""
    rows: Sequence[int] = ()
    """The items that have such windows."""
    table: PositionTable | None = None
    decision: Decision | None = None
    """None until positions are measured."""
    others: int = 0
    """Items whose windows have another shape: their positions are kept."""

    def decided(self, table: PositionTable | None) -> Decision:
        """Decide by what was measured."""
        decision = decide(table, self.mode, OF_ITEMS)
        return decision._replace(statement=decision.statement + self._rest) if decision.removed else decision

    @property
    def statement(self) -> str:
        """What is done, or will be, in a sentence."""
        if self.decision is not None:
            return self.decision.statement
        how = "removed, as asked" if self.mode == REMOVED else "removed where they explain more than 1 %"
        count = len(self.rows)
        sample = f"{min(FIRST_ITEMS, count)} of {count:,} items with windows of {self.window} x {self.window} tokens"
        which = "not comparable with other stores unless you pass its table"
        return f"positions measured first, over {sample}, and {how}{self._rest}; {which}"

    @property
    def _rest(self) -> str:
        return f"; kept in {counted(self.others, 'item')} with windows of another shape" if self.others else ""


def facts_of(table: PositionTable | None, decision: Decision) -> dict[str, Any]:
    """Write what was decided as JSON, as the receipt keeps it."""
    about = {} if table is None else {"table": table.to_dict()}
    return about | {"removed": decision.removed, "statement": decision.statement}


def settled_positions(store: StoreView, *, may_change: bool = False) -> dict[str, SettledPositions]:
    """Read what was decided, by model; `may_change` leaves out what no vector depends on yet."""
    settled = {}
    for label in store.labels:
        facts, table = store.receipt.get("positions", {}).get(label), store.table(label)
        if table is None and (facts is None or (may_change and not _has_vectors(store, label))):
            continue
        # A run may have ended between a table that was given and what was said of it.
        told = None if facts is None else Decision(facts["removed"], facts["statement"])
        settled[label] = SettledPositions(table, told or decide(table, store.request["output"]["positions"], OF_ITEMS))
    return settled


def _has_vectors(store: StoreView, label: str) -> bool:
    return any(store.counts()[label].get(code) for code in (Status.OK, Status.PARTIAL))


def position_plans(
    request: Request, chosen: Sequence[Chosen], items: Sequence[Item], *, settled: Mapping[str, SettledPositions]
) -> dict[str, PositionPlan]:
    """Plan what is done about positions, by model; nothing where they are kept. Raises PlanError, SpecError."""
    mode = request.output.positions_mode
    if mode == KEPT:
        return {}
    given = _given(request, chosen)
    _check_same(given, settled)
    plans = {}
    for one in chosen:
        label = one.spec.label
        if label in settled:
            plans[label] = PositionPlan(mode, table=settled[label].table, decision=settled[label].decision)
        elif not _has_windows(one):
            # Of a store that has a table, "removed" may be all that is left of a request that gave it.
            plans[label] = _without_windows(label, is_refused=request.output.positions == REMOVED and not settled)
        else:
            plans[label] = _plan(one, request, items, given=given.get(label))
    return plans


def _has_windows(one: Chosen) -> bool:
    return one.product is None and not one.card.resolved_inputs(one.spec)[0].native


def _without_windows(label: str, *, is_refused: bool) -> PositionPlan:
    """Keep what has no windows; refuse it where positions are to be removed from every model."""
    why = f"every vector is {NO_WINDOWS}, or was published"
    if is_refused:
        fix = "use positions='auto', which leaves such models as they are, or leave the model out"
        raise PlanError(f"positions of {label}", value=REMOVED, reason=f"its tokens have none: {why}", fix=fix)
    return PositionPlan(KEPT, decision=Decision(False, f"positions kept: {why}"))


def _plan(one: Chosen, request: Request, items: Sequence[Item], *, given: PositionTable | None) -> PositionPlan:
    mode, by_window = request.output.positions_mode, _by_window(one, items)
    window = max(by_window, key=lambda side: len(by_window[side]), default=0)
    window = window if given is None or given.window not in by_window else given.window
    rows = by_window.get(window, ())
    others = sum(map(len, by_window.values())) - len(rows)
    plan = PositionPlan(mode, _about(one), window, rows, others=others)
    if given is not None:
        fitting = given.fitting(dim=one.card.dim(one.spec, request.output), window=window, **plan.about)
        return replace(plan, table=fitting, decision=plan.decided(fitting))
    few = f"{len(rows)} of {counted(len(items), 'item')} have windows of one shape, {window} x {window} tokens"
    fault = "a window is one token and has no others" if window == 1 else ""
    if not fault and len(rows) < LEAST:
        fault = f"{few}; {LEAST} are needed to tell positions from the ground"
    if fault and mode == REMOVED:
        fix = "use positions='auto', or pass a table, such as the path of a larger store of the same model"
        raise PlanError(f"positions of {one.spec.label}", value=mode, reason=fault, fix=fix)
    return replace(plan, decision=Decision(False, f"positions kept: {fault}")) if fault else plan


def _about(one: Chosen) -> dict[str, Any]:
    """Return what a table of positions belongs to."""
    variant = one.card.variant_for(one.spec).name
    return {"model": one.card.id, "variant": variant, "patch_px": one.card.patch(one.spec)}


def _by_window(one: Chosen, items: Sequence[Item]) -> dict[int, Sequence[int]]:
    """Group the rows of the items by the tokens per side of their windows."""
    first = one.card.resolved_inputs(one.spec)[0]
    if first.size_px and not first.snap_px:
        return {first.size_px // one.card.patch(one.spec): range(len(items))}
    places: Iterable[Spatial] = items.places if isinstance(items, ItemColumns) else (item.spatial for item in items)
    by_window: dict[int, list[int]] = defaultdict(list)
    known: dict[tuple[float, str], int] = {}
    for row, place in enumerate(places):
        if isinstance(place, PointBuffer):  # points with one buffer have grids of one shape
            size = (place.buffer_m, place.crs)
            side = known[size] if size in known else known.setdefault(size, _side(one, place))
        else:
            side = _side(one, place)
        if side:
            by_window[side].append(row)
    return dict(by_window)


def _side(one: Chosen, place: Spatial) -> int:
    """Return the tokens per side of a place's windows; 0 where no grid fits it."""
    try:
        return one.fit(place).window[0]
    except SpecError:
        return 0  # the item becomes INVALID, with this reason, when it is read


# -------------------------------------------------------------------------------------------------------- what is given
def _given(request: Request, chosen: Sequence[Chosen]) -> dict[str, PositionTable]:
    windowed = {one.spec.label: _about(one) for one in chosen if _has_windows(one)}
    return given_tables("OutputSpec.positions", request.output.positions, windowed)


def given_tables(what: str, value: Any, windowed: Mapping[str, Mapping[str, Any]]) -> dict[str, PositionTable]:
    """Return the table that was given for each model that it belongs to.

    `value` is what `positions_given` returned; `windowed` is what a table of each model with windows belongs to.
    """
    if isinstance(value, str) and value in MODES:
        return {}
    tables = [value] if isinstance(value, PositionTable) else _tables_at(what, str(value))
    if isinstance(value, PositionTable) and not value.model and len(windowed) > 1:
        reason = f"a bare table belongs to one model, and {len(windowed)} of the request have windows"
        fix = "give the path of a store that has a table for each, or run the models one by one"
        raise SpecError(what, value=value.mean, reason=reason, fix=fix)
    given = {}
    for label, about in windowed.items():
        own = [table for table in tables if table.model in {"", about["model"]}]
        own.sort(key=lambda table: table.variant != about["variant"])
        if own:
            source = PASSED if own[0].source == MEASURED else own[0].source
            given[label] = replace(own[0], **({} if own[0].model else about), source=source)
    if not given:
        names = ", ".join(sorted({table.model for table in tables} - {""})) or "a model with windows"
        reason, fix = "the request computes no such model with windows", "give a table of one of its models"
        raise SpecError(what, value=f"table of {names}", reason=reason, fix=fix)
    return given


def _tables_at(what: str, path: str) -> list[PositionTable]:
    """Read the tables of a store or a map."""
    location = Location.of(path, read_only=True)
    view: Any = MapView(location) if kind_of(location) == MAP else Store.open(path)
    tables = [replace(table, source=location.name) for label in view.labels if (table := view.table(label)) is not None]
    if not tables:
        reason, fix = "it holds no table of positions (position_mean)", "give another store, or positions='auto'"
        raise StoreError(what, value=location.name, reason=reason, fix=fix)
    return tables


def check_given(request: Request, chosen: Sequence[Chosen], store: StoreView) -> None:
    """Refuse a table that is not the one by which a store was made."""
    _check_same(_given(request, chosen), settled_positions(store))


def _check_same(given: Mapping[str, PositionTable], settled: Mapping[str, SettledPositions]) -> None:
    for label in given.keys() & settled.keys():
        kept, digest = settled[label], given[label].digest
        if not kept.decision.removed or kept.table is None or kept.table.digest != digest:
            own = "without a table" if kept.table is None else f"with another table, {kept.table.digest}"
            fix = "repeat the request with the table that it was made with, or write to another out="
            raise StoreMismatchError(f"positions of {label}", value=digest, reason=f"it was made {own}", fix=fix)
