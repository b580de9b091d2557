"""The three stages of an item's way, free of Dask: read it, embed it, say what became of it."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from rs_embed_dask.engine.embedder import Embedded, Sample, resident
from rs_embed_dask.engine.faults import FATAL, said
from rs_embed_dask.engine.outcome import Outcome, judged
from rs_embed_dask.engine.reading import Pixels, read_pixels, refused
from rs_embed_dask.engine.recipe import Recipe, square_of
from rs_embed_dask.errors import ModelError, NoImageryError, RsEmbedError, SpecError
from rs_embed_dask.imagery.cube import Cube, Read
from rs_embed_dask.store import Status

if TYPE_CHECKING:
    from rs_embed_dask.store import Item

__all__ = ["ItemPixels", "Unit", "Visit", "embed_units", "read_unit", "weights_of"]

_BRIEFLY_S: Final = 0.01
_WORST: Final = (Status.INVALID, Status.READ_FAILED, Status.NO_DATA)

ItemPixels: TypeAlias = Mapping[int, Pixels]
"""The reads of one item, by the number of their group in the recipe."""

Visit: TypeAlias = tuple[int, ...]
"""Numbers of the recipe's groups that are read together."""


@dataclass(frozen=True)
class Unit:
    """One item, and the models that it still has to be embedded by.

    Attributes
    ----------
    row : int
        Its offset inside its chunk.
    item : Item
        Place and span.
    labels : tuple of str
        The models.
    """

    row: int
    item: Item
    labels: tuple[str, ...]

    def only(self, labels: Container[str]) -> Unit:
        """Keep some of the models."""
        return replace(self, labels=tuple(label for label in self.labels if label in labels))


def read_unit(recipe: Recipe, unit: Unit, visit: Visit) -> list[Pixels]:
    """Read one collection for one item, for all models at once.

    Parameters
    ----------
    recipe : Recipe
        What is to be done.
    unit : Unit
        The item.
    visit : tuple of int
        Which of the recipe's groups to read.

    Returns
    -------
    list of Pixels
        How each of them ended.
    """
    groups = [recipe.groups[number].only(unit.labels) for number in visit]
    try:
        reads = [group.read(unit.item.spatial, unit.item.temporal) for group in groups]
    except SpecError as error:
        return [refused(error)] * len(visit)
    return read_pixels(recipe.provider, reads, recipe.retry, seed=f"{unit.item.index}/{groups[0].sensor}")


@dataclass(frozen=True, eq=False)
class _Asked:
    """One item on its way through one model."""

    cubes: Mapping[str, Cube]
    frames: tuple[Any, ...]
    done: Future[Embedded]


def embed_units(
    recipe: Recipe,
    units: Sequence[Unit],
    pixels: Sequence[ItemPixels],
    *,
    leave: Callable[[], None] = lambda: None,
) -> list[dict[str, Outcome]]:
    """Embed items by every model that they need.

    Parameters
    ----------
    recipe : Recipe
        What is to be done.
    units : sequence of Unit
        The items.
    pixels : sequence of mapping
        The reads of each.
    leave : callable, optional
        Called before waiting for the device: gives the task's slot to another task.

    Returns
    -------
    list of dict of str to Outcome
        For each item, one outcome a model.

    Raises
    ------
    WeightsError, LicenceError, SpecError, EngineError
        A model could not be loaded: no item can be embedded by it.
    """
    asked = [
        {label: _ask(recipe, unit, found, label) for label in unit.labels}
        for unit, found in zip(units, pixels, strict=True)
    ]
    waiting = [one.done for row in asked for one in row.values() if isinstance(one, _Asked)]
    if wait(waiting, timeout=_BRIEFLY_S).not_done:
        leave()
    return [{label: _answer(label, one) for label, one in row.items()} for row in asked]


def _ask(recipe: Recipe, unit: Unit, pixels: ItemPixels, label: str) -> _Asked | Outcome:
    """Hand an item to a model, or say why it cannot be."""
    needs = recipe.needs(label)
    group = recipe.groups[needs[0][0]]
    frames = group.frames.spans(unit.item.temporal)
    failed = _failed([pixels[number] for number, _ in needs])
    if failed is not None:
        return Outcome(failed.status, error=failed.error, frames=frames, valid_fraction=(0.0,) * len(frames))
    cubes = {}
    for number, need in needs:
        cube = pixels[number].cube or _blank(recipe.groups[number].read(unit.item.spatial, unit.item.temporal))
        cubes[need.modality] = cube.select(bands=need.bands)
    crop = square_of(unit.item.spatial, group.resolution_m, group.fetch.crs)[1]
    entry = recipe.entry[label]
    embedder = resident(entry.key, entry.load, recipe.batch_items)
    return _Asked(cubes, frames, embedder.submit(Sample(cubes, recipe.output, recipe.prep, crop)))


def _failed(reads: Sequence[Pixels]) -> Pixels | None:
    """Find the read that keeps an item from being embedded: the worst of those that brought nothing.

    A modality without imagery does not, as long as another has some: what then becomes of the item is for the model.
    """
    without = [read for read in reads if read.cube is None]
    if len(without) < len(reads):
        without = [read for read in without if read.status != Status.NO_DATA]
    return min(without, key=lambda read: _WORST.index(read.status), default=None)


def _blank(read: Read) -> Cube:
    """Make the cube of a read that found nothing."""
    shape = (len(read.frames), len(read.bands), *read.grid.shape)
    return Cube(np.full(shape, np.nan, "float32"), np.zeros((shape[0], *shape[2:]), "uint16"), read)


def _answer(label: str, asked: _Asked | Outcome) -> Outcome:
    """Wait for the model and say what became of the item."""
    if isinstance(asked, Outcome):
        return asked
    embedded = asked.done.result()
    known = _known(asked) | {"share": embedded.share, "seconds": embedded.seconds}
    result = embedded.result
    if isinstance(result, NoImageryError):
        return Outcome(Status.NO_DATA, error=result, **known)
    if isinstance(result, BaseException):
        return Outcome(Status.MODEL_FAILED, error=_model_error(label, result), **known)
    shares = tuple(float(share) for share in result.valid_fraction)
    status, note = judged(shares)
    return Outcome(
        status,
        data=np.asarray(result.values, dtype="float32"),
        grid=result.grid,
        note=note,
        **known | {"valid_fraction": shares},
    )


def _model_error(label: str, error: BaseException) -> RsEmbedError:
    if isinstance(error, RsEmbedError) and not isinstance(error, FATAL):
        return error
    return ModelError(label, reason=f"it raised {said(error)}", fix="check the item's pixels, or report it")


def _known(asked: _Asked) -> dict[str, Any]:
    """Say what the cubes tell about an item, whatever the model made of it."""
    cubes = list(asked.cubes.values())
    days: list[date] = [day for cube in cubes for pair in cube.dates if pair is not None for day in pair]
    shares = np.mean([cube.valid_fraction for cube in cubes], axis=0)
    return {
        "frames": asked.frames,
        "valid_fraction": tuple(float(share) for share in shares),
        "n_obs": sum(int(cube.n_obs.max(axis=(1, 2)).sum()) for cube in cubes),
        "first": min(days, default=None),
        "last": max(days, default=None),
        "scenes": tuple(dict.fromkeys(scene for cube in cubes for scene in cube.scenes)),
    }


def weights_of(recipe: Recipe, outcomes: Sequence[Mapping[str, Outcome]]) -> dict[str, Mapping[str, Any]]:
    """Ask the models that ran about their weights, by label."""
    ran = {label for row in outcomes for label, outcome in row.items() if outcome.share > 0}
    found: dict[str, Mapping[str, Any]] = {}
    for entry in recipe.models:
        if entry.label in ran:
            model = resident(entry.key, entry.load, recipe.batch_items).model
            found[entry.label] = dict(model.result().weights_info)
    return found
