"""CoordBench's tables, from a local copy, and its protocol."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.analysis.metrics import Scoring
from rs_embed_dask.analysis.tasks import CLASSES, NUMBERS, Task, task_of
from rs_embed_dask.analysis.vectors import needed, sphere_m
from rs_embed_dask.errors import SpecError, UnknownNameError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CoordTables", "coordbench"]

_LON: Final = ("lon", "longitude", "Lon", "x")
_LAT: Final = ("lat", "latitude", "Lat", "y")
_SPARED: Final = frozenset(
    (*_LON, *_LAT, "timestamp", "timestamp_end", "split", "id", "place", "county", "state", "Count_Person",
     "imputation_split", "superresolution_split", "extrapolation_split")
)  # fmt: skip
_SAME_PLACE_M: Final = 1.0


@dataclass(frozen=True)
class Protocol:
    """How a benchmark is run where the caller does not say."""

    probes: dict[str, tuple[str, ...]]
    folds: dict[str, Any]
    scoring: Scoring


PROTOCOL: Final = Protocol(
    probes={NUMBERS: ("ridge",), CLASSES: ("knn", "ridge")},
    folds={"random": 5, "degrees": 10.0},
    scoring=Scoring(by_fold=True, floor=-1.0),
)


@dataclass(frozen=True)
class _Source:
    """A benchmark: the folder of its table, the columns that are its tasks, and which rows count."""

    name: str
    folder: str
    family: str
    kind: str = NUMBERS
    columns: tuple[str, ...] = ("label",)  # patterns
    first: bool = False  # only the first column that fits
    drop: tuple[str, float] | None = None  # rows with this value in this column
    keep: tuple[str, float] | None = None
    pool: str = ""  # only ids that count in this folder's table
    log: bool = False


def _mosaiks(names: str, family: str, *, log: bool) -> list[_Source]:
    return [
        _Source(f"mosaiks-{name}", f"usavars_{name}", family, columns=(f"*{name}*", "price", "*"), first=True, log=log)
        for name in names.split()
    ]


_POOL: Final = ("random_sample", 1.0)
_COVER: Final = "water trees grass flooded_vegetation crops shrub_and_scrub built bare snow_and_ice"
_DHS: Final = {
    "asset": "asset_index",
    "water": "water_index",
    "sanitation": "sanitation_index",
    "child_mortality": "under5_mort",
    "women_edu": "women_edu",
    "women_bmi": "women_bmi",
}
_HEALTH: Final = {
    "phys_health": "phlth",
    "diabetes": "diabetes",
    "copd": "copd",
    "cancer": "cancer",
    "chd": "chd",
    "mental_health": "mhlth",
    "checkup": "checkup",
    "sleep_lt7": "sleep",
    "asthma": "casthma",
    "obesity": "obesity",
    "smoking": "csmoking",
    "high_chol": "highchol",
}
_OCEAN: Final = ("ecoregion_class_index", -1.0)
_LAND: Final = (
    "africa_crop_mask canada_crops_coarse canada_crops_fine descals ethiopia_crops glance lcmap_lc lcmap_lcc lcmap_lu "
    "lcmap_luc lucas_lc lucas_lu us_trees"
)
SOURCES: Final = (
    _Source("pdfm-conus27", "pdfm_conus27", "socio", columns=("*",)),
    _Source("california-housing", "california_housing", "socio", columns=("MedHouseVal",)),
    *_mosaiks("population nightlights income housing", "socio", log=True),
    *_mosaiks("roads", "socio", log=False),
    _Source("satclip-population", "satclip_population", "socio", columns=("log_population",)),
    _Source("bt-population", "bt_human_footprint", "socio", columns=("pop_density",), pool="bt_landcover"),
    _Source("bt-distroad", "bt_human_footprint", "socio", columns=("maxdist_road",), pool="bt_landcover"),
    *(_Source(f"sustainbench-{name}", "sustainbench", "socio", columns=(column,)) for name, column in _DHS.items()),
    *(
        _Source(f"places-{name}", "cdc_places", "socio", columns=(f"{column}_crudeprev",))
        for name, column in _HEALTH.items()
    ),
    *(_Source(f"worldclim-bio{n}", "worldclim_bio", "env", columns=(f"bio{n}",)) for n in (1, 12)),
    *(_Source(f"soilgrids-{name}", "soilgrids", "env", columns=(name,)) for name in ("soc", "phh2o")),
    *(_Source(f"dm-{name}", f"dm_{name}", "env") for name in ("aster_ged", "openet_ensemble")),
    *_mosaiks("elevation treecover", "env", log=False),
    _Source("satclip-elevation", "satclip_elevation", "env", columns=("elevation",)),
    _Source("satclip-air-temp", "air_temp", "env", columns=("*temp*", "mean*"), first=True),
    _Source("bt-biomass", "bt_biomass", "env", columns=("biomass_mean",)),
    _Source("bt-bioclim", "bt_bioclim", "env", columns=("bioclim_*",), pool="bt_landcover"),
    *(_Source(f"dm-{name}", f"dm_{name}", "land", CLASSES) for name in _LAND.split()),
    _Source("satclip-biome", "satclip_ecoregion", "land", CLASSES, ("biome_class_index",), drop=_OCEAN),
    _Source("satclip-ecoregion", "satclip_ecoregion", "land", CLASSES, ("ecoregion_class_index",), drop=_OCEAN),
    _Source("satclip-country", "satclip_country", "land", CLASSES, ("country",), drop=("country", 0.0)),
    _Source("country", "country", "land", CLASSES, ("country",)),
    _Source("ecoregions", "ecoregions", "land", CLASSES, ("biome", "ecoregion")),
    _Source("bt-cropharvest", "bt_cropharvest", "land", CLASSES, ("label_name",)),
    _Source("bt-landcover", "bt_landcover", "land", columns=tuple(_COVER.split()), keep=_POOL),
)
"""The 60 benchmarks: 28 socio-economic, 12 of the environment, 20 of land."""


@dataclass(frozen=True, eq=False)
class CoordTables:
    """Tables of CoordBench, to give to `benchmark` as labels.

    Attributes
    ----------
    names : tuple of str
        The benchmarks that were found.
    missing : tuple of str
        Those of the 60 whose table is not in the folder.
    """

    tables: dict[str, pd.DataFrame] = field(repr=False)
    missing: tuple[str, ...] = ()
    protocol: Protocol = PROTOCOL

    @property
    def names(self) -> tuple[str, ...]:
        """The benchmarks."""
        return tuple(self.tables)

    @property
    def places(self) -> pd.DataFrame:
        """Every place once: ``lon`` and ``lat``, in degrees, for `compute_embeddings`."""
        import pandas as pd

        parts = [table[["lon", "lat"]] for table in self.tables.values()]
        return pd.concat(parts).drop_duplicates().reset_index(drop=True)

    def tasks(self, items: pd.DataFrame) -> list[Task]:
        """Make the tasks, each label with the item within a metre of it."""
        tree = needed("scipy.spatial").KDTree(sphere_m(items["lon"].to_numpy(), items["lat"].to_numpy()))
        by_name = {source.name: source for source in SOURCES}
        return [task for name, table in self.tables.items() for task in _tasks(by_name[name], table, tree)]


def coordbench(folder: str | PathLike[str], names: Sequence[str] | None = None) -> CoordTables:
    """Open a local copy of CoordBench's tables (``taylor-geospatial/coordbench``), for `benchmark`.

    Parameters
    ----------
    folder : path
        Has ``data/CONFIG/data.parquet``, ``CONFIG/data.parquet`` or ``CONFIG.parquet``. Nothing is downloaded.
    names : list of str, optional
        Benchmarks, such as ``"soilgrids-soc"``. Default: all that the folder has.

    Returns
    -------
    CoordTables
        ``.places`` are those to compute vectors of; `benchmark` takes the rest, with CoordBench's protocol unless
        `probes` or `folds` are given: kNN (classes) and ridge, 5 folds, random and by blocks of 10 degrees, or the
        official split; mean of the folds' scores, R2 floored at -1; mean ranks by family, a table counting once. Ridge
        strengths are chosen inside what is learnt from, not by the fold that is scored.

    Raises
    ------
    SpecError
        If the folder has no such table, or a table lacks a column.
    UnknownNameError
        If there is no such benchmark.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> tables = rs.coordbench("coordbench/", ["soilgrids-soc", "dm-lcmap_lc"])  # doctest: +SKIP
    >>> run = rs.compute_embeddings(tables.places, ["rcf"], rs.TemporalSpec.year(2022))  # doctest: +SKIP
    >>> print(rs.benchmark(run, tables))  # doctest: +SKIP
    """
    by_name = {source.name: source for source in SOURCES}
    for name in names or ():
        if name not in by_name:
            raise UnknownNameError.among("names", name, by_name)
    root = Path(folder)
    found = {
        one.name: path for one in SOURCES if (path := _path(root, one.folder)) and (not names or one.name in names)
    }
    absent = [name for name in (names or by_name) if name not in found]
    if not found or (names and absent):
        reason = f"it has no table of {absent[0]}: no {by_name[absent[0]].folder}/data.parquet"
        fix = "copy taylor-geospatial/coordbench there, with its folder data"
        raise SpecError("folder", value=str(folder), reason=reason, fix=fix)
    return CoordTables({name: _table(root, by_name[name]) for name in found}, tuple(absent))


def _path(root: Path, folder: str) -> Path | None:
    names = (f"data/{folder}/data.parquet", f"{folder}/data.parquet", f"{folder}.parquet")
    return next((root / name for name in names if (root / name).is_file()), None)


def _table(root: Path, source: _Source) -> pd.DataFrame:
    """Read a table's places, tasks and split, and only the rows that count."""
    raw = _read(root, source.folder)
    raw = raw.set_axis([str(name).strip() for name in raw.columns], axis=1)
    lon, lat = (_column(raw, names, source) for names in (_LON, _LAT))
    for pair, is_kept in ((source.drop, False), (source.keep, True)):
        if pair is not None:
            raw = raw[(raw[_column(raw, (pair[0],), source)] == pair[1]) == is_kept]
    if source.pool:
        pool = _read(root, source.pool)
        raw = raw[raw[_column(raw, ("id",), source)].isin(pool.loc[pool[_POOL[0]] == _POOL[1], "id"])]
    tasks = _matching(raw, source)
    table = raw[tasks].assign(lon=raw[lon].astype("float64"), lat=raw[lat].astype("float64"))
    if source.folder == "sustainbench":
        table = table.assign(split=raw["split"])
    whole: pd.DataFrame = table[np.isfinite(table["lon"]) & np.isfinite(table["lat"])].reset_index(drop=True)
    return whole


def _read(root: Path, folder: str) -> pd.DataFrame:
    import pandas as pd

    path = _path(root, folder)
    if path is None:
        fix = "copy taylor-geospatial/coordbench there, with its folder data"
        raise SpecError("folder", value=str(root), reason=f"it has no {folder}/data.parquet", fix=fix)
    table: pd.DataFrame = pd.read_parquet(path)
    return table


def _column(table: pd.DataFrame, names: Iterable[str], source: _Source) -> str:
    name = next((one for one in names if one in table.columns), None)
    if name is None:
        reason = f"its table has none of the columns {', '.join(names)}, but {', '.join(map(str, table.columns[:12]))}"
        raise SpecError("coordbench", value=source.name, reason=reason, fix="use a copy of the published tables")
    return name


def _matching(table: pd.DataFrame, source: _Source) -> list[str]:
    """Return the columns that are tasks, by pattern."""
    free = [name for name in table.columns if name not in _SPARED and not name.startswith("Unnamed")]
    found = [name for pattern in source.columns for name in free if fnmatch(name.lower(), pattern.lower())]
    found = list(dict.fromkeys(found))
    if not found:
        _column(table, source.columns, source)
    return found[:1] if source.first else found


def _tasks(source: _Source, table: pd.DataFrame, tree: Any) -> Iterable[Task]:
    _, rows = tree.query(sphere_m(table["lon"].to_numpy(), table["lat"].to_numpy()), distance_upper_bound=_SAME_PLACE_M)
    there = np.flatnonzero(rows < tree.n)
    names = [name for name in table.columns if name not in {"lon", "lat", "split"}]
    for name in names:
        values = table[name].iloc[there]
        if source.kind == CLASSES:
            values = values.astype("string")
        elif source.folder.startswith("usavars"):
            values = values.where(values != -999.0)  # noqa: PLR2004 - the tables' mark of no data
            values = np.log1p(values) if source.log else values
        title = source.name if len(names) == 1 else f"{source.name}/{name}"
        made = task_of(title, values, table=source.name, family=source.family)
        test = (table["split"].iloc[there] == "test").to_numpy()[made.rows] if "split" in table else None
        yield Task(title, rows[there][made.rows], made.target, made.classes, made.table, made.family, test)
