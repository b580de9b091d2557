"""What is to be done to every item, worked out once: which reads, merged across models, and which models.

A recipe is small and the same for all items, so tasks carry it and work the rest out where they run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from rs_embed_dask.engine.retry import Retry
from rs_embed_dask.imagery.cube import Read
from rs_embed_dask.imagery.dates import Frames
from rs_embed_dask.imagery.grid import Grid, Window, grid_for
from rs_embed_dask.specs import FetchSpec, InputPrep, OutputSpec, Spatial, TemporalSpec

if TYPE_CHECKING:
    from rs_embed_dask.engine.embedder import EmbedModel
    from rs_embed_dask.products import Reader
    from rs_embed_dask.providers import Provider

__all__ = ["ModelEntry", "Need", "ProductEntry", "ReadGroup", "Recipe", "square_of"]


@dataclass(frozen=True)
class Need:
    """What one modality of one model takes from a read.

    Attributes
    ----------
    label : str
        The model.
    modality : str
        Its input.
    bands : tuple of str
        Common names in the encoder's order.
    """

    label: str
    modality: str
    bands: tuple[str, ...]


@dataclass(frozen=True)
class ReadGroup:
    """One cube a place: a collection in some frames, and the needs of every model that takes from it.

    Attributes
    ----------
    sensor : str
        The collection.
    resolution_m : float
        Metres a pixel.
    fetch : FetchSpec
        How pixels are read, with the cards' choices filled in.
    frames : Frames
        How a span becomes frames.
    needs : tuple of Need
        Who takes what.
    """

    sensor: str
    resolution_m: float
    fetch: FetchSpec
    frames: Frames
    needs: tuple[Need, ...]

    def only(self, labels: Iterable[str]) -> ReadGroup:
        """Keep the needs of some models."""
        wanted = frozenset(labels)
        return replace(self, needs=tuple(need for need in self.needs if need.label in wanted))

    @property
    def bands(self) -> tuple[str, ...]:
        """The union of the bands, in order of first mention."""
        return tuple(dict.fromkeys(band for need in self.needs for band in need.bands))

    def read(self, spatial: Spatial, temporal: TemporalSpec) -> Read:
        """Say what to read for one item.

        Raises
        ------
        SpecError
            Where no grid fits the place.
        """
        grid, _ = square_of(spatial, self.resolution_m, self.fetch.crs)
        return Read(grid, self.sensor, self.bands, self.frames.spans(temporal), self.fetch)


@dataclass(frozen=True)
class ModelEntry:
    """One model of a run.

    Attributes
    ----------
    label : str
        Its name in the store.
    key : str
        Identifies it with all its options: what a resident embedder is known by.
    load : callable
        Makes the model in the process that needs it; picklable.
    nbytes : int
        What its weights take in float32; 0 where that is not known.
    """

    label: str
    key: str
    load: Callable[[], EmbedModel] = field(compare=False)
    nbytes: int = 0


@dataclass(frozen=True)
class ProductEntry:
    """One precomputed product of a run, whose read is the embedding.

    Attributes
    ----------
    label : str
        Its name in the store.
    reader : Reader
        What reads it.
    resolution_m, crs : float or None, str or None
        As the request asks, instead of the product's own.
    pooling : str
        How vectors become one; "" for grids.
    dim : int
        Length of a vector.
    """

    label: str
    reader: Reader
    dim: int
    resolution_m: float | None = None
    crs: str | None = None
    pooling: str = ""

    def grid(self, spatial: Spatial) -> Grid:
        """Return the pixels of a place. Raises SpecError where no grid fits it."""
        return self.reader.grid(spatial, self.resolution_m, crs=self.crs)


@dataclass(frozen=True)
class Recipe:
    """What is to be done to every item.

    Attributes
    ----------
    provider : Provider
        Where pixels come from.
    groups : tuple of ReadGroup
        The reads of one item.
    models : tuple of ModelEntry
        The models that compute.
    products : tuple of ProductEntry
        Those that are read.
    output : OutputSpec
        Vectors or grids.
    prep : InputPrep
        How images meet networks.
    retry : Retry
        How often reads are tried.
    batch_items : int
        Most items in a batch.
    """

    provider: Provider
    groups: tuple[ReadGroup, ...]
    models: tuple[ModelEntry, ...]
    output: OutputSpec
    prep: InputPrep
    retry: Retry = field(default_factory=Retry)
    batch_items: int = 32
    products: tuple[ProductEntry, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of all models in the store, the products last."""
        return (*(entry.label for entry in self.models), *(entry.label for entry in self.products))

    @cached_property
    def product(self) -> dict[str, ProductEntry]:
        """The products by label."""
        return {entry.label: entry for entry in self.products}

    @cached_property
    def entry(self) -> dict[str, ModelEntry]:
        """The models by label."""
        return {entry.label: entry for entry in self.models}

    def groups_for(self, labels: Iterable[str]) -> dict[int, ReadGroup]:
        """Find the reads that some of the models need, by number, each with only what they need."""
        wanted = frozenset(labels)
        found = {number: group.only(wanted) for number, group in enumerate(self.groups)}
        return {number: group for number, group in found.items() if group.needs}

    def visits(self, labels: Iterable[str]) -> tuple[tuple[int, ...], ...]:
        """Say which reads, by number, are of the same source and so are made together: one visit a collection."""
        found: dict[tuple[str, str | None], list[int]] = {}
        for number, group in self.groups_for(labels).items():
            found.setdefault((group.sensor, group.fetch.crs), []).append(number)
        finest_first = (sorted(numbers, key=lambda n: self.groups[n].resolution_m) for numbers in found.values())
        return tuple(tuple(numbers) for numbers in finest_first)

    def needs(self, label: str) -> tuple[tuple[int, Need], ...]:
        """Say what a model takes, and from which read by number."""
        return tuple(
            (number, need) for number, group in enumerate(self.groups) for need in group.needs if need.label == label
        )


def square_of(spatial: Spatial, resolution_m: float, crs: str | None) -> tuple[Grid, Window]:
    """Find the square of real imagery around a place, and the window of it that was asked for."""
    return grid_for(spatial, resolution_m, crs=crs).square()
