"""STAC APIs as providers. The Planetary Computer's tokens are fetched where pixels are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, InitVar, asdict, dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from rs_embed_dask.errors import NoImageryError, ProviderError, SpecError, UnknownNameError
from rs_embed_dask.imagery.cube import DAYS, Read
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.frame import scaling_fault
from rs_embed_dask.imagery.grid import LARGEST_SIDE_PX, Grid
from rs_embed_dask.imagery.revisit import acquisition_days
from rs_embed_dask.imagery.sensor_tables import SOURCES
from rs_embed_dask.imagery.sensors import Source, added_sensors, sensor, source, sources_of
from rs_embed_dask.providers.addresses import KEY, host_only, plain_address
from rs_embed_dask.providers.assemble import NOTES, REFUSED, STATE, Cut, FrameRecipe, raw_cube, recipe_for, uncut
from rs_embed_dask.providers.http import Access, KeyedLinks, PlainLinks, Signer
from rs_embed_dask.providers.kept import ByteCache, kept_bytes
from rs_embed_dask.providers.registry import Estimate, Scene, estimate_read, open_provider
from rs_embed_dask.providers.retry import RetryPolicy
from rs_embed_dask.providers.signing import BucketLinks
from rs_embed_dask.providers.stac.assets import INDEX, absent_band, asset_for, contradictions, unreadable, with_bands
from rs_embed_dask.providers.stac.described import stated_collection
from rs_embed_dask.providers.stac.fallback import Second, lacking, stack_both, widened
from rs_embed_dask.providers.stac.first import fetch_first
from rs_embed_dask.providers.stac.items import StacItem, newest
from rs_embed_dask.providers.stac.read import AssetReader, chunks_for, link_to, stack_items
from rs_embed_dask.providers.stac.search import Query, find
from rs_embed_dask.providers.stac.shared import Shared, around, is_wanted, serving, spanning, touching
from rs_embed_dask.providers.tiff import TiffLimits
from rs_embed_dask.specs.base import choice, whole
from rs_embed_dask.specs.fetch import FetchSpec

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr

    from rs_embed_dask.imagery.stated import StatedCollection
    from rs_embed_dask.providers.handed import Before, HandedBytes

__all__ = ["StacProvider", "scene_of"]


def scene_of(item: StacItem, cloud: tuple[str, ...], names: Iterable[str] = ()) -> Scene:
    """Return an item as a plain scene, with the assets that it has; ``visual#1`` counts as one where named."""
    assets = sorted({*item.assets, *(name for name in names if asset_for(item, (name,)) is not None)})
    return Scene(item.id, item.time, item.number(cloud), {**item.properties, "assets": assets})


Pairs = tuple[tuple[str, str], ...]
_Judged = tuple[tuple[StacItem, ...], tuple[ProviderError, ...]]
MOST_THREADS: Final = 256


@dataclass(frozen=True)
class StacProvider:
    """Reads cloud-optimised GeoTIFFs that a STAC API lists.

    A small value without connections or credentials: workers make those when they read. Searches are kept for ten
    minutes; one serves all places of an area that a run or map has planned or, without one, of a cell of about 100 km
    from its fourth place on. Heads of files are kept for the life of the process, those of remote files in the user's
    cache folder.

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
        asset with several, and ``{"scl": "SCL_20m"}`` names the layer of a mask. Assets with unknown names are
        recognised without it by ``bands`` or ``eo:bands``: name, wavelength and common name of a band have to agree,
        as far as they are stated.
    absent
        What a scene costs that lacks a band, has a file that cannot be read (missing, damaged, refused), or cannot be
        understood: ``"nan"`` (default), that band or, in the latter cases, that scene, which the reason then names; or
        ``"error"``, the read. Where no scene is left, or none has a band that its mission has, the read fails either
        way.
    threads
        Requests that one read keeps in flight, default 16.
    chunk_px
        Side of the blocks of a large grid in pixels; by default cut where the blocks of the files end.
    retry
        Attempts and waits after transient faults of the search and of file reads.
    patience
        The same under its earlier name.
    key_file
        File with the key that belongs where `url` has ``{key}``, a path that exists on every worker. The key itself
        travels nowhere; it goes to the server of `url` alone.
    limits
        How large images, blocks and reads may be, and how strongly blocks may be compressed.
    fallback
        A second catalogue, as `open_provider` takes it, such as ``"earth_search"``. Scenes that this one lacks, by
        granule and sensing time, are read from there, with its assets and scales; their ids begin with its name.
    credentials
        ``"environment"``: ``s3://`` and ``gs://`` links are signed where they are read, with the credentials, region
        and endpoint that the environment of that process states (``AWS_ACCESS_KEY_ID`` and the like), for private
        buckets; needs the extra ``object-store``. Default: they are read without credentials, as public ones are.

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
    key_file: str | None = None
    limits: TiffLimits = field(default_factory=TiffLimits)
    fallback: str | StacProvider | Mapping[str, Any] | None = None
    credentials: Literal["environment"] | None = None
    patience: InitVar[RetryPolicy | Mapping[str, Any] | None] = field(default=None, kw_only=True)

    name: ClassVar[str] = "stac"

    def __post_init__(self, patience: RetryPolicy | Mapping[str, Any] | None) -> None:
        fix = "give the API's address; where a key belongs write {key}, and pass key_file=, its file on every worker"
        url = plain_address("StacProvider.url", self.url, fix=fix)
        if (KEY in url) != (self.key_file is not None):
            reason = "{key} and key_file= go together, and one was given"
            raise SpecError("StacProvider.key_file", value=self.key_file, reason=reason, fix=fix)
        if not sources_of(self.source):
            raise UnknownNameError.among("StacProvider.source", self.source, {each.provider for each in SOURCES})
        choice("StacProvider.absent", self.absent, ("nan", "error"))
        if self.credentials not in (None, "environment"):  # the value may be a key, so it is not shown
            fix = "leave it out, or pass credentials='environment' and set the keys in the environment of each worker"
            raise SpecError("StacProvider.credentials", reason="it names no kind of credentials", fix=fix)
        whole("StacProvider.threads", self.threads, low=1, high=MOST_THREADS)
        if self.chunk_px is not None:
            whole("StacProvider.chunk_px", self.chunk_px, low=1, high=LARGEST_SIDE_PX)
        object.__setattr__(self, "url", url)
        object.__setattr__(self, "key_file", None if self.key_file is None else str(self.key_file))
        served = {sensor(name).id: collection for name, collection in dict(self.collections).items()}
        object.__setattr__(self, "collections", tuple(sorted(served.items())))
        object.__setattr__(self, "assets", tuple(sorted(dict(self.assets).items())))
        object.__setattr__(self, "retry", RetryPolicy.of(self.retry if patience is None else patience))
        if isinstance(self.limits, Mapping):
            object.__setattr__(self, "limits", TiffLimits(**self.limits))
        if self.fallback is not None:
            object.__setattr__(self, "fallback", self._checked(open_provider(self.fallback)))

    def _checked(self, second: object) -> StacProvider:
        fix = "give one STAC provider without a fallback of its own, for example 'earth_search'"
        if not isinstance(second, StacProvider) or second.fallback is not None:
            raise SpecError("StacProvider.fallback", value=second, reason="it is not a plain STAC provider", fix=fix)
        if not self.sensors() & second.sensors():
            reason = f"it serves {', '.join(sorted(second.sensors()))}, of which this provider serves none"
            raise SpecError("StacProvider.fallback", value=second, reason=reason, fix="leave it out")
        if any(INDEX in name for each in (self, second) for name in dict(each.assets).values()):
            fix = "leave fallback= out, or name assets of one band"
            raise SpecError("StacProvider.fallback", value=second, reason="an asset holds several bands", fix=fix)
        return second

    def __repr__(self) -> str:
        changed = [
            (f.name, getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) != DEFAULTS.get(f.name)
        ]
        values = ((name, host_only(value) if name == "url" else value) for name, value in changed)
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in values)})"

    @property
    def keyed(self) -> KeyedLinks | None:
        """What puts the key into addresses, where there is one."""
        return None if self.key_file is None else KeyedLinks(self.url, self.key_file)

    @property
    def signer(self) -> Signer:
        """Signer of links."""
        return self.keyed or PlainLinks()

    @property
    def access(self) -> Access:
        """How files are reached."""
        signer = self.signer if self.credentials is None else BucketLinks(self.signer)
        return Access(signer, self.retry, self.url, self.limits, is_strict=self.absent == "error")

    @property
    def services(self) -> tuple[str, ...]:
        """Addresses that every read asks: this catalogue's, and the second one's."""
        return (self.url, *(self.fallback.services if isinstance(self.fallback, StacProvider) else ()))

    def sensors(self) -> frozenset[str]:
        """Return the ids of the sensors that it serves."""
        own = frozenset(dict(self.collections)) or frozenset(each.sensor for each in sources_of(self.source))
        return own | added_sensors(self.source)

    def collection(self, name: str) -> StatedCollection:
        """Return what the API states of a collection: of its bands ``raster:bands`` and what names them."""
        return stated_collection(self.url, name, self.retry, provider=self.source, keyed=self.keyed)

    def table(self, name: str) -> Source:
        """Return how a sensor is served here.

        Raises
        ------
        UnknownNameError, SpecError
            If the sensor is not known, or not served.
        """
        table = source(self.source, name)
        if table.sensor in added_sensors(self.source):
            return table
        renamed = dict(self.collections)
        if renamed:
            if table.sensor not in renamed:
                reason, fix = (
                    "this provider was made without it",
                    f"add it to collections=, or use {', '.join(renamed)}",
                )
                raise SpecError("sensor", value=table.sensor, reason=reason, fix=fix)
            table = replace(table, collection=renamed[table.sensor], more_collections=())
        renamed = dict(self.assets)
        if renamed:
            assets = {**dict(table.assets), **{band: (asset,) for band, asset in renamed.items()}}
            masks = tuple((rule, renamed.get(rule, asset)) for rule, asset in table.masks)
            table = replace(table, assets=tuple(assets.items()), masks=masks)
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
        kept = (item for item in items if not item.fault and is_wanted(item, table, fetch))
        return tuple(scene_of(item, names) for item in kept)

    def _served(self, reads: Sequence[Read]) -> tuple[Source, Second | None]:
        """Return how the sensor of some reads is served, here and by the second catalogue."""
        table = self.table(reads[0].sensor)
        return table, self._second(table)

    def _second(self, table: Source) -> Second | None:
        """Return what the second catalogue has of a sensor."""
        second = self.fallback
        if not isinstance(second, StacProvider) or table.sensor not in second.sensors():
            return None
        return Second(second.source, second.table(table.sensor), second.access.signer, second.url)

    def _find(self, table: Source, grids: Sequence[Grid], span: Span, fetch: FetchSpec) -> tuple[StacItem, ...]:
        """Return the items of the catalogue, and those of the second one that it lacks."""
        second = self._second(table)
        if second is None or not isinstance(self.fallback, StacProvider):
            return self.listed(table, grids, span, fetch=fetch)
        # cloud covers and times differ between catalogues: what one has is seen without the limits of a read
        wide, anything = widened(span), replace(fetch, max_cloud_pct=None)
        first = self.listed(table, grids, wide, fetch=anything)
        theirs = self.fallback.listed(second.table, grids, wide, fetch=anything)
        more = lacking(first, theirs, table=table, other=second)
        both = (*first, *more)
        return tuple(
            item for item in both if item.fault or (item.time.date() in span and is_wanted(item, table, fetch))
        )

    def listed(self, table: Source, grids: Sequence[Grid], span: Span, *, fetch: FetchSpec) -> tuple[StacItem, ...]:
        """Return the items of this catalogue alone."""
        limited = fetch.max_cloud_pct is not None and sensor(table.sensor).kind == "optical"
        query = Query(
            url=self.url,
            collections=(table.collection, *table.more_collections),
            boxes=around(grids),
            span=span,
            cloud=table.properties.cloud[0] if limited else None,
            most_cloud=fetch.max_cloud_pct if limited else None,
            retry=self.retry,
            keyed=self.keyed,
        )
        return tuple(with_bands(item, table, named=dict(self.assets)) for item in find(query))

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
        if isinstance(cube, ProviderError):
            raise cube
        return cube

    def cubes(self, reads: Sequence[Read]) -> list[xr.Dataset | ProviderError]:
        """Return the lazy cubes of several reads of one place and sensor: one search, and each file's pixels once.

        Parameters
        ----------
        reads
            They may differ in bands, frames, cloud limit, mask, composite and the size of pixels. What grids of
            different pixels share is fetched once if they are computed one after the other, as `load_all` does.

        Returns
        -------
        list of xarray.Dataset or ProviderError
            One per read, as `cube` returns or raises it.

        Raises
        ------
        AccessError, TransientError, ProviderError
            If the API or, when computed, a file fails.
        """
        table = self.table(reads[0].sensor)
        grids = tuple(dict.fromkeys(read.grid for read in reads))
        # without a cloud limit, which is applied to each read: the census counts what the catalogue has
        items = self._find(table, grids, spanning(reads), FetchSpec())
        cache = kept_bytes() or (ByteCache() if len(grids) > 1 else None)
        access = replace(self.access, cache=cache)
        by_read: dict[int, xr.Dataset | ProviderError] = {}
        for grid in grids:
            mine = {number: read for number, read in enumerate(reads) if read.grid == grid}
            cubes = self._of_one_grid(tuple(mine.values()), touching(items, grid), access)
            by_read |= zip(mine, cubes, strict=True)
        return [by_read[number] for number in range(len(reads))]

    def _of_one_grid(
        self, reads: Sequence[Read], candidates: Sequence[StacItem], access: Access
    ) -> list[xr.Dataset | ProviderError]:
        (table, second), grid = self._served(reads), reads[0].grid
        recipes, judged, faults, shared = self._sorted(reads, candidates)
        files = (asset for item in shared.items for asset in item.assets.values())
        cuts = chunks_for(grid, files, block_px=table.block_px, chunk_px=self.chunk_px)
        stack = partial(stack_items, layers=shared.layers, grid=grid, cuts=cuts, threads=self.threads)
        raw = stack_both(stack, shared.items, second=second, access=access)
        return [
            _counted(
                fault
                or _with_losses(
                    self._cut(shared.part(raw, items, recipe.assets), read, items=items, recipe=recipe, cuts=cuts),
                    {REFUSED: refused, STATE: access.state, NOTES: contradictions(items, recipe, grid)},
                ),
                read,
                candidates,
            )
            for read, (items, refused), recipe, fault in zip(reads, judged, recipes, faults, strict=True)
        ]

    def _sorted(
        self, reads: Sequence[Read], candidates: Sequence[StacItem]
    ) -> tuple[list[FrameRecipe], list[_Judged], list[ProviderError | None], Shared]:
        """Return how each read of one grid is made, of which items, why it cannot be, and what the reads share."""
        table, second = self._served(reads)
        others = () if second is None else ((second.prefix, second.table),)
        recipes = [recipe_for(read, table, others) for read in reads]
        judged = [
            self._judged(serving(candidates, read, table), recipe) for read, recipe in zip(reads, recipes, strict=True)
        ]
        faults = [self._fault(items, recipe) for (items, _), recipe in zip(judged, recipes, strict=True)]
        shared = Shared.of([() if fault else items for (items, _), fault in zip(judged, faults, strict=True)], recipes)
        return recipes, judged, faults, shared

    def first_bytes(self, reads: Sequence[Read], before: Before) -> HandedBytes:
        """Fetch what reads of one grid need and no read before them fetches; see `HandsOn`."""
        (table, second), grid, access = self._served(reads), reads[0].grid, self.access
        items = touching(self._find(table, (grid,), spanning(reads), FetchSpec()), grid)
        *_, shared = self._sorted(reads, items)
        links = ((item, link_to(item, names, grid)) for item in shared.items for names in shared.layers)
        theirs, cuts = access if second is None else second.reached(access), uncut(grid.shape)
        readers = [
            AssetReader(link, grid, cuts, theirs if second is not None and second.owns(item.id) else access)
            for item, link in links
            if link is not None
        ]
        return fetch_first(readers, grid, before, threads=self.threads)

    def _judged(self, items: Iterable[StacItem], recipe: FrameRecipe) -> _Judged:
        """Return the items that can be read, and why others cannot, by what the catalogue says of them."""
        faults = [
            (item, item.fault or unreadable(item, recipe) or scaling_fault(scene_of(item, ()), recipe))
            for item in items
        ]
        refused = tuple(fault for _, fault in faults if fault is not None)
        if refused and self.absent == "error":
            raise refused[0]
        return tuple(item for item, fault in faults if fault is None), refused

    def _cut(
        self, raw: da.Array, read: Read, *, items: Sequence[StacItem], recipe: FrameRecipe, cuts: tuple[Cut, Cut]
    ) -> xr.Dataset | NoImageryError:
        table = self.table(read.sensor)
        asset_names = [name for names in recipe.assets for name in names]
        scenes = [scene_of(item, table.properties.cloud, asset_names) for item in items]
        try:
            return raw_cube(read, recipe, scenes=scenes, raw=raw, cuts=cuts)
        except NoImageryError as nothing:
            return nothing

    def _fault(self, items: Sequence[StacItem], recipe: FrameRecipe) -> ProviderError | None:
        """Return why a read cannot be served: a band that no scene has, or must have, or a mask without its layer."""
        if self.absent == "error":
            for item in items:
                for band, names in zip(recipe.bands, recipe.assets, strict=False):
                    if asset_for(item, names) is None:
                        fix = "leave the band out, or use absent='nan'"
                        return ProviderError(f"item {item.id}", reason=f"it has no band {band.common}", fix=fix)
        if recipe.mask is not None and items and not any(asset_for(item, recipe.assets[-1]) for item in items):
            return ProviderError(
                f"mask {recipe.mask.name}",
                value=items[0].id,
                reason=f"neither this item nor any other has the asset {recipe.assets[-1][0]} that it reads",
                fix="pass FetchSpec(mask='none') if the images are free of clouds already, or name it with "
                f"assets={{{recipe.mask.name!r}: 'NAME'}}",
            )
        return absent_band(items, recipe)

    def estimate(self, read: Read) -> Estimate:
        """Estimate the cost of a read without a request: two requests per file and the bytes of whole blocks."""
        return estimate_read(read, self.table(read.sensor))

    def describe(self) -> dict[str, Any]:
        """Return JSON values from which `open_provider` recreates the provider."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        plain = {name: value for name, value in plain.items() if value != DEFAULTS.get(name)}
        plain |= {name: dict(plain[name]) for name in ("collections", "assets") if name in plain}
        plain |= {name: asdict(plain[name]) for name in ("retry", "limits") if name in plain}
        plain |= {name: plain[name].describe() for name in ("fallback",) if name in plain}
        return {"name": self.name, **plain}


def _with_losses(cube: xr.Dataset | NoImageryError, facts: dict[str, Any]) -> xr.Dataset | ProviderError:
    """Let a cube know why it lacks scenes. Where there are no others, that is why there is no cube."""
    if isinstance(cube, NoImageryError):
        return facts[REFUSED][0] if facts[REFUSED] else cube
    cube.encoding |= facts
    return cube


def _counted(
    cube: xr.Dataset | ProviderError, read: Read, candidates: Iterable[StacItem]
) -> xr.Dataset | ProviderError:
    """Let a cube know on how many days of its frames the catalogue has scenes, cloudy ones included."""
    dated = (item.time for item in candidates if not item.fault)
    times = (time for time in dated if any(time.date() in span for span in read.frames))
    days = acquisition_days(times, read.grid.center_lonlat[0])
    if isinstance(cube, NoImageryError):
        cube.n_days = days
    elif not isinstance(cube, ProviderError):
        cube.attrs[DAYS] = days
    return cube


DEFAULTS: Final = {
    f.name: f.default if f.default_factory is MISSING else f.default_factory() for f in fields(StacProvider)
}
