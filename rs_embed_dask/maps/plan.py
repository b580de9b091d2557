"""The plan of a map: what it will do and cost, as it is printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from rs_embed_dask.engine.outlook import Outlook
from rs_embed_dask.engine.plan import time_text
from rs_embed_dask.engine.receipts import Timed
from rs_embed_dask.show.tables import Section, bytes_text, counted, page_html, page_text

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MapPlan", "ModelFigures", "ReadFigures"]


@dataclass(frozen=True)
class ModelFigures:
    """What a map costs for one model, over all groups and spans.

    Attributes
    ----------
    label : str
        Name of the model in the store.
    dim : int
        Embedding dimension.
    token_m : float
        Side of a token in metres; of one in degrees, along the equator.
    window, stride : int
        Tokens per side of a window, and from one window to the next.
    block : int
        Tokens per side of a block.
    blocks : dict of str to int
        Blocks of each group.
    windows : int
        Windows to embed.
    inference : float
        Tokens that the network computes over those of the blocks.
    first_windows : int
        Windows of the first pass, which measures positions.
    positions : str
        What happens to positions.
    store_bytes : int
        Size of the arrays before compression.
    token : str
        Side of a token, in words.
    """

    label: str
    dim: int
    token_m: float
    window: int
    stride: int
    block: int
    blocks: Mapping[str, int]
    windows: int
    inference: float
    first_windows: int
    positions: str
    store_bytes: int
    token: str


@dataclass(frozen=True)
class ReadFigures:
    """The reads that some models share, over all groups and spans.

    Attributes
    ----------
    labels : tuple of str
        The models.
    what : tuple of str
        Collections, resolutions, bands and the models that use them.
    reads : int
        Rectangles that are read.
    pixels : int
        Pixels of them.
    excess : float
        Those pixels over the pixels of the blocks.
    scenes, requests, download_bytes, layers : float
        Estimated from a few reads; layers are those of a band of a scene, and count more the larger a read is.
    block_bytes : int
        Decoded pixels of one block.
    """

    labels: tuple[str, ...]
    what: tuple[str, ...]
    reads: int
    pixels: int
    excess: float
    scenes: float
    requests: float
    download_bytes: float
    layers: float
    block_bytes: int


@dataclass(frozen=True)
class MapPlan(Timed):
    """What the making of a map will do.

    Attributes
    ----------
    request : dict
        The request as the store keeps it, without the region.
    extent : tuple of float
        West, south, east and north in degrees; west is above east where the antimeridian lies between them.
    area_km2 : float
        Area of the region.
    spans : int
        Layers along ``time``.
    models : tuple of ModelFigures
        One per model.
    reads : tuple of ReadFigures
        One for the models that share their reads.
    outlook : Outlook
        The frames of each model, spans that no provider has, and known faults.
    work, crew, times : Work, Crew, Times
        What there is to do, on which workers, and how long that takes as far as runs on this machine have measured it.
    """

    request: Mapping[str, Any]
    extent: tuple[float, float, float, float]
    area_km2: float
    spans: int
    models: tuple[ModelFigures, ...]
    reads: tuple[ReadFigures, ...]
    outlook: Outlook = field(default_factory=Outlook)

    def part(self, blocks: Mapping[str, int]) -> Self:
        """Return the plan of some blocks of each model, over all spans, with the rest of it as it is."""
        totals = {one.label: sum(one.blocks.values()) * self.spans for one in self.models}
        shares = {label: blocks.get(label, 0) / max(1, total) for label, total in totals.items()}
        return replace(self, work=self.work.part(shares))

    @property
    def store_bytes(self) -> int:
        """Size of the store before compression."""
        return sum(one.store_bytes for one in self.models)

    def to_dict(self) -> dict[str, Any]:
        """Write as JSON."""
        return self.timed_dict(asdict(self)) | {"request": dict(self.request), "store_bytes": self.store_bytes}

    def _sections(self) -> list[Section]:
        west, south, east, north = self.extent
        facts = [
            ("region", f"{self.area_km2:,.0f} km2, {west:.4f} to {east:.4f} east, {south:.4f} to {north:.4f} north"),
            ("spans", f"{self.spans:,}"),
            ("provider", str(self.request["provider"].get("name"))),
            ("store", f"{bytes_text(self.store_bytes)} in {self.request['dtype']} before compression"),
            ("time", time_text(self.times, self.crew)),
            ("estimate", "blocks and windows are counted; the rest is from a few reads, without asking the provider"),
            *self.outlook.rows(),
        ]
        reads = [row for one in self.reads for row in _read_rows(one)]
        models = [Section(one.label, _model_rows(one)) for one in self.models]
        return [Section("", facts), *models, Section("reads", reads)]

    def __repr__(self) -> str:
        labels = ", ".join(one.label for one in self.models)
        return f"MapPlan({self.area_km2:,.0f} km2, {labels}; print it for its cost)"

    def __str__(self) -> str:
        return page_text("Plan of a map", self._sections())

    def _repr_html_(self) -> str:
        return page_html("Plan of a map", self._sections())


def _model_rows(one: ModelFigures) -> list[tuple[str, str]]:
    blocks = ", ".join(f"{count:,} in {group}" for group, count in one.blocks.items())
    first = f", and {counted(one.first_windows, 'window')} first, to measure positions" if one.first_windows else ""
    return [
        ("vectors", f"{one.dim} numbers per token of {one.token}"),
        ("blocks", f"{blocks}, of {one.block} x {one.block} tokens"),
        ("windows", f"{one.windows:,} of {one.window} x {one.window} tokens, {one.stride} apart{first}"),
        ("inference", f"{one.inference:.3f} x the least"),
        ("positions", one.positions),
        ("store", bytes_text(one.store_bytes)),
    ]


def _read_rows(one: ReadFigures) -> list[tuple[str, str]]:
    requests = counted(round(one.requests), "request")
    return [
        ("for", ", ".join(one.labels)),
        *(("read", what) for what in one.what),
        ("reads", f"{one.reads:,}, {one.excess:.3f} x the pixels of the blocks: {requests}"),
        ("bytes", f"{bytes_text(one.download_bytes)} to download, {bytes_text(one.block_bytes)} decoded per block"),
    ]
