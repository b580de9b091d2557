"""Running a plan in this process: embeddings and inputs without a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from time import sleep
from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask.embedding import Embedding
from rs_embed_dask.engine.confine import within
from rs_embed_dask.engine.embedder import resident
from rs_embed_dask.engine.inputs import input_meta
from rs_embed_dask.engine.recipe import choose
from rs_embed_dask.engine.stages import Unit, by_group, embed_units, product_parts, read_products, read_unit, weights_of
from rs_embed_dask.errors import EngineError, PlanError, SpecError
from rs_embed_dask.inference.arrays import labelled
from rs_embed_dask.models import card
from rs_embed_dask.providers.reach import ask_here, check_services
from rs_embed_dask.specs import Polygon

if TYPE_CHECKING:
    from rs_embed_dask.engine.plan import Plan
    from rs_embed_dask.engine.reading import CubeRead
    from rs_embed_dask.engine.recipe import Recipe
    from rs_embed_dask.engine.stages import Outcome
    from rs_embed_dask.imagery.cube import Cube
    from rs_embed_dask.specs.positions import PositionTable
    from rs_embed_dask.store import Item

__all__ = ["ItemResult", "embed_items", "embedding_of", "embeddings_of", "inputs_of", "read_items"]

_THREADS: Final = 8


@dataclass(frozen=True, eq=False)
class ItemResult:
    """One item embedded in this process."""

    item: Item
    outcomes: Mapping[str, Outcome]
    pixels: tuple[CubeRead, ...]
    weights: Mapping[str, Mapping[str, Any]]


def read_items(plan: Plan) -> Iterator[tuple[Unit, dict[int, CubeRead]]]:
    """Read the items of a plan with a few threads, in order."""
    recipe = plan.recipe
    labels = tuple(recipe.entry)
    visits = recipe.visits(labels)
    units = (Unit(row, item, labels) for row, item in enumerate(plan.items))
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="rs-read") as threads:
        while block := list(islice(units, recipe.batch_items)):
            submitted = [[threads.submit(read_unit, recipe, unit, visit) for visit in visits] for unit in block]
            for unit, futures in zip(block, submitted, strict=True):
                yield unit, by_group(visits, [future.result() for future in futures])


def embed_items(plan: Plan) -> Iterator[ItemResult]:
    """Read and embed the items of a plan in this process, in order, a batch at a time."""
    recipe, tables = plan.recipe, _tables(plan)
    _reached(recipe.services(recipe.labels))
    for entry in recipe.models:  # what no item could be embedded without is known before the first read
        resident(entry.key, entry.load, recipe.batch_items).model.result()
    reads = read_items(plan)
    while block := list(islice(reads, recipe.batch_items)):
        outcomes = embed_units(recipe, [unit for unit, _ in block], [pixels for _, pixels in block])
        outcomes = [{label: one.without(tables.get(label)) for label, one in row.items()} for row in outcomes]
        weights = weights_of(recipe, outcomes)
        products = _read_products(recipe, [replace(unit, labels=tuple(recipe.product)) for unit, _ in block])
        for (unit, pixels), embedded, read in zip(block, outcomes, products, strict=True):
            yield ItemResult(unit.item, {**embedded, **read}, tuple(pixels.values()), weights)


@cache
def _reached(services: tuple[str, ...]) -> None:
    """Try the services of a plan from this process, once where they answer. Raises UnreachableError."""
    check_services(services, ask_here, wait=lambda seconds, _: sleep(seconds))


def _tables(plan: Plan) -> dict[str, PositionTable]:
    """Return what is taken from each model's grids. Raises PlanError where it would have to be measured."""
    tables = {}
    for label, one in plan.positions.items():
        if one.decision is None:
            reason = "measuring takes a run, whose store keeps the table"
            fix = "use compute_embeddings, or pass a table"
            raise PlanError(f"positions of {label}", value=one.mode, reason=reason, fix=fix)
        if one.decision.removed and one.table is not None:
            tables[label] = one.table
    return tables


def _read_products(recipe: Recipe, units: Sequence[Unit]) -> list[dict[str, Outcome]]:
    """Read every product for some items with a few threads."""
    outcomes: dict[int, dict[str, Outcome]] = {unit.row: {} for unit in units}
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="rs-product") as threads:
        submitted = [
            (label, part, threads.submit(read_products, recipe, [unit.item for unit in part], label))
            for label, part in product_parts(recipe, units)
        ]
        for label, part, future in submitted:
            for unit, read in zip(part, future.result(), strict=True):
                outcomes[unit.row][label] = read.outcome
    return [outcomes[unit.row] for unit in units]


def embeddings_of(plan: Plan) -> list[Embedding]:
    """Embed the items of a plan with one model, in order."""
    return [embedding_of(result, plan) for result in embed_items(plan)]


def embedding_of(result: ItemResult, plan: Plan, number: int = 0) -> Embedding:
    """Return what one of the plan's models made of an item; raise why it made nothing."""
    spec, item = plan.request.models[number], result.item
    model_card = card(spec.id)
    outcome, product = result.outcomes[spec.label], plan.recipe.product.get(spec.label)
    if outcome.error is not None:
        raise outcome.error
    if outcome.data is None:
        reason = outcome.reason or "the model returned nothing"
        raise EngineError("embedding", value=item.id, reason=reason, fix="report it with the request")
    meta: dict[str, Any] = {
        "model": spec.id,
        "variant": model_card.variant_for(spec).name,
        "provider": plan.request.provider.name if product is None else product.reader.place,
        "spatial": item.spatial.to_dict(),
        "temporal": item.temporal.to_dict(),
        "output": model_card.named(plan.request.output).to_dict(),
        "within": within(model_card, plan.request.output) if isinstance(item.spatial, Polygon) else "box",
        "status": outcome.status.name.lower(),
        "weights": dict(result.weights.get(spec.label, {})),
        "note": outcome.note,
        "frames": [(span.start.isoformat(), span.end.isoformat()) for span in outcome.frames],
        "valid_fraction": list(outcome.valid_fraction),
        "first_date": outcome.first and outcome.first.isoformat(),
        "last_date": outcome.last and outcome.last.isoformat(),
        "scenes": list(outcome.scenes),
        "n_days": None if outcome.n_days < 0 else outcome.n_days,
        "n_expected": None if outcome.n_expected < 0 else outcome.n_expected,
        **input_meta(choose(plan.request)[number], item.spatial),
    }
    if outcome.checks:
        meta["input_checks"] = dict(outcome.checks)
    if spec.label in plan.positions:
        meta["positions"] = plan.positions[spec.label].statement
    if outcome.grid is None:
        return Embedding(outcome.data, meta)
    return Embedding(labelled(outcome.data, outcome.grid, outcome.shares), meta)


def inputs_of(plan: Plan) -> dict[str, Cube]:
    """Read what the plan's one model would see of its first item, by modality."""
    for entry in plan.recipe.products:
        fix = "use get_embedding(..., output='grid') to see its vectors"
        raise SpecError("inspect_input", value=entry.label, reason="a product has no input imagery", fix=fix)
    _reached(plan.recipe.services(plan.recipe.entry))
    _, pixels = next(read_items(plan))
    cubes = {}
    for number, group in enumerate(plan.recipe.groups):
        result = pixels[number]
        if result.value is None:
            if result.error is None:
                raise EngineError("read", value=group.sensor, reason="it returned nothing", fix="report it")
            raise result.error
        for need in group.needs:
            cubes[need.modality] = result.value.select(bands=need.bands)
    return cubes
