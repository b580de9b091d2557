"""STAC APIs as providers. The Planetary Computer's tokens are fetched where pixels are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, InitVar, asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self

from rs_embed_dask.errors import NoImageryError, ProviderError, SpecError, UnknownNameError
from rs_embed_dask.imagery.cube import Read
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.grid import LARGEST_SIDE_PX, Grid
from rs_embed_dask.imagery.sensor_tables import SOURCES
from rs_embed_dask.imagery.sensors import Source, sensor, source, sources_of
from rs_embed_dask.providers.assemble import FrameRecipe, raw_cube, recipe_for
from rs_embed_dask.providers.http import Access, ByteCache, PlainLinks, PlanetaryComputerTokens, Signer
from rs_embed_dask.providers.registry import Estimate, Pace, Scene, estimate_read
from rs_embed_dask.providers.retry import RetryPolicy
from rs_embed_dask.providers.stac.read import Layer, asset_for, chunks_for, stack_items
from rs_embed_dask.providers.stac.search import Query, StacItem, find, newest, touches
from rs_embed_dask.specs.base import choice, text, whole
from rs_embed_dask.specs.fetch import FetchSpec

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr

__all__ = ["URL", "PlanetaryComputer", "Shared", "StacProvider", "around", "loosest", "scene_of", "serving", "touching"]

Box = tuple[float, float, float, float]


def around(grids: Sequence[Grid]) -> tuple[Box, ...]:
    """Return the boxes in degrees that hold grids of one place: one, or two at the antimeridian."""
    boxes = [grid.lonlat_boxes for grid in grids]
    if len({len(each) for each in boxes}) > 1:  # only the larger grid crosses it
        return tuple(dict.fromkeys(box for each in boxes for box in each))
    return tuple(
        (min(b[0] for b in same), min(b[1] for b in same), max(b[2] for b in same), max(b[3] for b in same))
        for same in zip(*boxes, strict=True)
    )


def touching(items: Sequence[StacItem], grid: Grid) -> tuple[StacItem, ...]:
    """Keep the items of which some file reaches into a grid."""
    return tuple(item for item in items if any(touches(item, asset, grid) for asset in item.assets.values()))


def loosest(reads: Sequence[Read]) -> tuple[Span, FetchSpec]:
    """Return the span and the cloud limit that admit every scene that any of the reads needs."""
    limits = [read.fetch.max_cloud_pct for read in reads]
    stated = [limit for limit in limits if limit is not None]
    limit = max(stated) if len(stated) == len(limits) else None
    whole = Span(min(read.span.start for read in reads), max(read.span.end for read in reads))
    return whole, replace(reads[0].fetch, max_cloud_pct=limit)


def serving(items: Sequence[StacItem], read: Read, table: Source) -> tuple[StacItem, ...]:
    """Return the items that one read needs, as if it had been searched for alone."""
    limit = read.fetch.max_cloud_pct if sensor(table.sensor).kind == "optical" else None

    def matches(item: StacItem) -> bool:
        cover = item.first(table.properties.cloud)
        clear = limit is None or (cover is not None and float(cover) <= limit)
        return clear and any(span.start <= item.time.date() < span.end for span in read.frames)

    return newest([item for item in items if matches(item)], table.properties)


@dataclass(frozen=True)
class Shared:
    """The items and layers of a stack."""

    items: tuple[StacItem, ...]
    layers: tuple[Layer, ...]

    @classmethod
    def of(cls, items_per_read: Sequence[Sequence[StacItem]], recipes: Sequence[FrameRecipe]) -> Self:
        """Collect what any read needs, each item and layer once."""
        items = {item.id: item for each in items_per_read for item in each}
        layers = dict.fromkeys(names for recipe in recipes for names in recipe.assets)
        return cls(tuple(sorted(items.values(), key=lambda item: (item.time, item.id))), tuple(layers))

    def part(self, raw: da.Array, items: Sequence[StacItem], layers: Sequence[Layer]) -> da.Array:
        """Take one read's items and layers out of the stack: (n, a, H, W) of (N, A, H, W)."""
        rows = {item.id: row for row, item in enumerate(self.items)}
        columns = {names: column for column, names in enumerate(self.layers)}
        taken = raw
        if tuple(items) != self.items:
            taken = taken[[rows[item.id] for item in items]]
        if tuple(layers) != self.layers:
            taken = taken[:, [columns[names] for names in layers]]
        return taken


def scene_of(item: StacItem, cloud: tuple[str, ...], names: Iterable[str] = ()) -> Scene:
    """Return an item as a plain scene, with the assets that it has; ``visual#1`` counts as one where named."""
    assets = sorted({*item.assets, *(name for name in names if asset_for(item, (name,)) is not None)})
    cover = item.first(cloud)
    return Scene(item.id, item.time, None if cover is None else float(cover), {**item.properties, "assets": assets})


Pairs = tuple[tuple[str, str], ...]
LATENCY_S: Final = 0.12
MOST_THREADS: Final = 256


@dataclass(frozen=True)
class StacProvider:
    """Reads cloud-optimised GeoTIFFs that a STAC API lists.

    A small value without connections or credentials: workers make those when they read. Searches are kept for ten
    minutes and heads of files for the life of the process, so neighbouring places share them.

    Parameters
    ----------
    url
        Address of the API, the one that answers with a catalogue's landing page.
    source
        Whose tables define assets and scalings: ``"earth_search"`` (default) or ``"planetary_computer"``.
    collections
        Collection id for each sensor where it differs from the tables; if given, only these sensors are served.
    assets
        Asset for each band (by common name) where it differs from the tables. ``"visual#1"`` is the first band of an
        asset with several.
    absent
        What a band becomes that a scene does not have: ``"nan"`` (default), missing there; or ``"error"``.
    threads
        Requests that one read keeps in flight, default 16.
    chunk_px
        Side of the blocks of a large grid in pixels; by default cut where the blocks of the files end.
    retry
        Attempts and waits after transient faults of the search and of file reads.
    patience
        The same under its earlier name.

    Raises
    ------
    SpecError, UnknownNameError
        If a value cannot be used.

    Examples
    --------
    >>> provider = StacProvider("https://earth-search.aws.element84.com/v1")
    >>> sorted(provider.sensors())
    ['landsat-c2-l2', 'sentinel-2-l2a']
    """

    url: str
    source: str = "earth_search"
    collections: Mapping[str, str] | Pairs = ()
    assets: Mapping[str, str] | Pairs = ()
    absent: Literal["nan", "error"] = "nan"
    threads: int = 16
    chunk_px: int | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    patience: InitVar[RetryPolicy | Mapping[str, Any] | None] = field(default=None, kw_only=True)

    name: ClassVar[str] = "stac"

    def __post_init__(self, patience: RetryPolicy | Mapping[str, Any] | None) -> None:
        url = text("StacProvider.url", self.url, fix="give the API's address")
        if not url.startswith(("http://", "https://")):
            raise SpecError(
                "StacProvider.url", value=url, reason="it is not an http(s) address", fix="give the API's address"
            )
        if not sources_of(self.source):
            raise UnknownNameError.among("StacProvider.source", self.source, {each.provider for each in SOURCES})
        choice("StacProvider.absent", self.absent, ("nan", "error"))
        whole("StacProvider.threads", self.threads, low=1, high=MOST_THREADS)
        if self.chunk_px is not None:
            whole("StacProvider.chunk_px", self.chunk_px, low=1, high=LARGEST_SIDE_PX)
        object.__setattr__(self, "url", url.rstrip("/"))
        served = {sensor(name).id: collection for name, collection in dict(self.collections).items()}
        object.__setattr__(self, "collections", tuple(sorted(served.items())))
        object.__setattr__(self, "assets", tuple(sorted(dict(self.assets).items())))
        object.__setattr__(self, "retry", RetryPolicy.of(self.retry if patience is None else patience))

    @property
    def signer(self) -> Signer:
        """Signer of links, which need no signature here."""
        return PlainLinks()

    @property
    def access(self) -> Access:
        """How files are reached."""
        return Access(self.signer, self.retry)

    def sensors(self) -> frozenset[str]:
        """Return the ids of the sensors that it serves."""
        return frozenset(dict(self.collections)) or frozenset(each.sensor for each in sources_of(self.source))

    def table(self, name: str) -> Source:
        """Return how a sensor is served here.

        Raises
        ------
        UnknownNameError, SpecError
            If the sensor is not known, or not served.
        """
        table = source(self.source, name)
        renamed = dict(self.collections)
        if renamed:
            if table.sensor not in renamed:
                reason, fix = (
                    "this provider was made without it",
                    f"add it to collections=, or use {', '.join(renamed)}",
                )
                raise SpecError("sensor", value=table.sensor, reason=reason, fix=fix)
            table = replace(table, collection=renamed[table.sensor], more_collections=())
        if self.assets:
            table = replace(
                table, assets=tuple({**dict(table.assets), **{b: (a,) for b, a in dict(self.assets).items()}}.items())
            )
        return table

    def search(self, sensor: str, grid: Grid, span: Span, *, fetch: FetchSpec) -> tuple[Scene, ...]:
        """List the scenes that touch a grid, in order of time, unsigned and without repeats.

        Parameters
        ----------
        sensor
            A sensor by any name.
        grid, span
            Where and when.
        fetch
            Its cloud limit counts. A scene that does not state its cloud cover does not pass a limit.

        Raises
        ------
        AccessError, TransientError, ProviderError
            If the API refuses, is out of order, or does not know the collection.
        """
        table = self.table(sensor)
        names = table.properties.cloud
        items = newest(touching(self._find(table, (grid,), span, fetch), grid), table.properties)
        return tuple(scene_of(item, names) for item in items)

    def _find(self, table: Source, grids: Sequence[Grid], span: Span, fetch: FetchSpec) -> tuple[StacItem, ...]:
        limited = fetch.max_cloud_pct is not None and sensor(table.sensor).kind == "optical"
        query = Query(
            url=self.url,
            collections=(table.collection, *table.more_collections),
            boxes=around(grids),
            span=span,
            cloud=table.properties.cloud[0] if limited else None,
            most_cloud=fetch.max_cloud_pct if limited else None,
            retry=self.retry,
        )
        return find(query)

    def cube(self, read: Read) -> xr.Dataset:
        """Return the lazy cube of a read; the search is done now, pixels are read when it is computed.

        Parameters
        ----------
        read
            What to read.

        Returns
        -------
        xarray.Dataset
            ``pixels`` (time, band, y, x) float32 in canonical units and ``n_obs`` (time, y, x).

        Raises
        ------
        NoImageryError
            If no scene falls into any frame.
        AccessError, TransientError, ProviderError
            If the API or, when computed, a file fails.
        """
        (cube,) = self.cubes((read,))
        if isinstance(cube, NoImageryError):
            raise cube
        return cube

    def cubes(self, reads: Sequence[Read]) -> list[xr.Dataset | NoImageryError]:
        """Return the lazy cubes of several reads of one place and sensor: one search, and each file's pixels once.

        Parameters
        ----------
        reads
            They may differ in bands, frames, cloud limit, mask, composite and the size of pixels. What grids of
            different pixels share is fetched once if they are computed one after the other, as `load_all` does.

        Returns
        -------
        list of xarray.Dataset or NoImageryError
            One per read, as `cube` returns it.

        Raises
        ------
        AccessError, TransientError, ProviderError
            If the API or, when computed, a file fails.
        """
        table = self.table(reads[0].sensor)
        grids = tuple(dict.fromkeys(read.grid for read in reads))
        items = self._find(table, grids, *loosest(reads))
        access = self.access if len(grids) == 1 else replace(self.access, cache=ByteCache())
        by_read: dict[int, xr.Dataset | NoImageryError] = {}
        for grid in grids:
            mine = {number: read for number, read in enumerate(reads) if read.grid == grid}
            cubes = self._of_one_grid(tuple(mine.values()), touching(items, grid), access)
            by_read |= zip(mine, cubes, strict=True)
        return [by_read[number] for number in range(len(reads))]

    def _of_one_grid(
        self, reads: Sequence[Read], candidates: Sequence[StacItem], access: Access
    ) -> list[xr.Dataset | NoImageryError]:
        table = self.table(reads[0].sensor)
        recipes = [recipe_for(read, table) for read in reads]
        grid = reads[0].grid
        items_per_read = [serving(candidates, read, table) for read in reads]
        for items, recipe in zip(items_per_read, recipes, strict=True):
            self._check_assets(items, recipe)
        shared = Shared.of(items_per_read, recipes)
        files = (asset for item in shared.items for asset in item.assets.values())
        chunks = chunks_for(grid, files, block_px=table.block_px, chunk_px=self.chunk_px)
        raw = stack_items(shared.items, shared.layers, grid, access=access, chunks=chunks, threads=self.threads)
        return [
            self._cut(shared.part(raw, items, recipe.assets), read, items=items, recipe=recipe)
            for read, items, recipe in zip(reads, items_per_read, recipes, strict=True)
        ]

    def _cut(
        self, raw: da.Array, read: Read, *, items: Sequence[StacItem], recipe: FrameRecipe
    ) -> xr.Dataset | NoImageryError:
        table = self.table(read.sensor)
        asset_names = [name for names in recipe.assets for name in names]
        scenes = [scene_of(item, table.properties.cloud, asset_names) for item in items]
        try:
            return raw_cube(read, table, scenes=scenes, raw=raw)
        except NoImageryError as nothing:
            return nothing

    def _check_assets(self, items: Iterable[StacItem], recipe: FrameRecipe) -> None:
        """Refuse what cannot be served: bands that must be there, and a mask that no scene has the layer for."""
        scenes = tuple(items)
        if self.absent == "error":
            for item in scenes:
                for band, names in zip(recipe.bands, recipe.assets, strict=False):
                    if asset_for(item, names) is None:
                        fix = "leave the band out, or use absent='nan'"
                        raise ProviderError(f"item {item.id}", reason=f"it has no band {band.common}", fix=fix)
        if recipe.mask is not None and scenes and not any(asset_for(item, recipe.assets[-1]) for item in scenes):
            raise ProviderError(
                f"mask {recipe.mask.name}",
                value=scenes[0].id,
                reason=f"neither this item nor any other has the asset {recipe.assets[-1][0]} that it reads",
                fix="pass FetchSpec(mask='none') if the images are free of clouds already",
            )

    def estimate(self, read: Read) -> Estimate:
        """Estimate the cost of a read without a request: two requests per file and the bytes of whole blocks."""
        pace = Pace(latency_s=LATENCY_S, requests_per_asset=2.0, at_once=self.threads)
        return estimate_read(read, self.table(read.sensor), pace)

    def describe(self) -> dict[str, Any]:
        """Return JSON values from which `open_provider` recreates the provider."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        plain = {name: value for name, value in plain.items() if value != DEFAULTS.get(name)}
        plain |= {name: dict(plain[name]) for name in ("collections", "assets") if name in plain}
        if "retry" in plain:
            plain["retry"] = asdict(self.retry)
        return {"name": self.name, **plain}


DEFAULTS: Final = {
    f.name: f.default if f.default_factory is MISSING else f.default_factory() for f in fields(StacProvider)
}


URL: Final = "https://planetarycomputer.microsoft.com/api/stac/v1"


@dataclass(frozen=True)
class PlanetaryComputer(StacProvider):
    """Reads the Planetary Computer's collections.

    Links stay unsigned in searches, graphs, stores and messages. The worker that reads a file asks the token issuer
    through the `planetary_computer` package (which takes a subscription key from its own settings, if there is one),
    once per container and process, and again when the token's own expiry comes near.

    Parameters
    ----------
    url
        Address of the API.
    source, collections, assets, absent, threads, chunk_px, retry
        As of `StacProvider`; the tables are the Planetary Computer's.

    Examples
    --------
    >>> sorted(PlanetaryComputer().sensors())[-2:]
    ['sentinel-1-rtc', 'sentinel-2-l2a']
    """

    url: str = URL
    source: str = "planetary_computer"

    name: ClassVar[str] = "planetary_computer"

    @property
    def signer(self) -> Signer:
        """Signer of links, with tokens of the Planetary Computer."""
        return PlanetaryComputerTokens()
