"""The commands that ask a run or a map: `search`, `zonal`, `probe`, `change`, `classes`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

import rs_embed_dask as rs
from rs_embed_dask.cli import request as read, show
from rs_embed_dask.cli.options import StorageOptions, taking
from rs_embed_dask.errors import SpecError

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["asking"]

asking = typer.Typer()

Asked = Annotated[str, typer.Argument(metavar="STORE", help="Path or URL of a run or a map.")]
MapPath = Annotated[str, typer.Argument(metavar="MAP", help="Path or URL of a map.")]
Model = Annotated[str | None, typer.Option("--model", "-m", help="The model; needed where there are several.")]
Span = Annotated[int | None, typer.Option(help="Only this span, by its number from 0.")]
Table = Annotated[
    Path | None, typer.Option("--out", "-o", help="File: .parquet, .csv, or what geopandas writes, such as .geojson.")
]
NewMap = Annotated[str, typer.Option("--out", "-o", help="Where the new map is written.")]
_WRITERS = {".parquet": "to_parquet", ".csv": "to_csv"}
_PAIR = 2


@asking.command()
@taking(StorageOptions)
def search(  # noqa: PLR0913  each is an option
    service: StorageOptions,
    store: Asked,
    *,
    like: Annotated[list[str], typer.Option(help="LON,LAT or an item's id; repeat it for several.")],
    unlike: Annotated[list[str] | None, typer.Option(help="What is not meant, as --like.")] = None,
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="How many to find.")] = 10,
    model: Model = None,
    span: Span = None,
    out: Table = None,
) -> None:
    """Find the items of a run, or the tokens of a map, whose vectors are most like some examples."""
    examples, others = ([_example(one) for one in given] for given in (like, unlike or []))
    found = rs.search(read.place_from(store, service), examples, negatives=others or None, k=k, model=model, span=span)
    _give(found, out)


@asking.command()
@taking(StorageOptions)
def zonal(  # noqa: PLR0913  each is an option
    service: StorageOptions,
    map_path: MapPath,
    polygons: Annotated[Path, typer.Argument(help="Vector file with polygons, in any reference system.")],
    *,
    out: Table = None,
    stat: Annotated[str, typer.Option(help="mean or sum.")] = "mean",
    model: Annotated[list[str] | None, typer.Option("--model", "-m", help="Default: all.")] = None,
    span: Span = None,
) -> None:
    """Compute means or sums of a map over polygons, each token by the exact share of it that lies inside."""
    way = cast("Literal['mean', 'sum']", stat)
    _give(rs.zonal(read.place_from(map_path, service), str(polygons), stat=way, model=model or None, span=span), out)


@asking.command()
@taking(StorageOptions)
def probe(  # noqa: PLR0913  each is an option
    service: StorageOptions,
    store: Asked,
    labels: Annotated[str, typer.Argument(help="A column of the run's places; of a map, a file with labelled places.")],
    *,
    target: Annotated[str, typer.Option("--to", help="The map, or the run, to predict.")],
    out: Annotated[str, typer.Option("--out", "-o", help="The new map; of a run, a file as of `search`.")],
    column: Annotated[str | None, typer.Option(help="The column of the file that holds the labels.")] = None,
    kind: Annotated[str | None, typer.Option(help="ridge, logistic or forest.")] = None,
    model: Model = None,
) -> None:
    """Fit a small model to the labels of some places, and predict those of a map or of another run."""
    from rs_embed_dask.specs.places import read_frame
    from rs_embed_dask.store.export.items import any_tree, is_run

    source, other = read.place_from(store, service), read.place_from(target, service, is_beside=True)
    given: Any = labels if is_run(any_tree(source)) else read_frame(labels)
    fitted = rs.probe(source, given, model=model, kind=cast("Literal['ridge'] | None", kind), column=column)
    show.text(fitted)
    if is_run(any_tree(other)):
        _give(cast("gpd.GeoDataFrame", fitted.predict(other)), Path(out))
        return
    fitted.predict(other, read.place_from(out, service, is_beside=True))
    show.text(out)


@asking.command()
@taking(StorageOptions)
def change(
    service: StorageOptions,
    store: Asked,
    *,
    out: Annotated[str, typer.Option("--out", "-o", help="The new map; of a run, a file as of `search`.")],
    model: Model = None,
) -> None:
    """Measure how much each place differs from its own other years."""
    from rs_embed_dask.store.export.items import any_tree, is_run

    source = read.place_from(store, service)
    if is_run(any_tree(source)):
        _give(cast("gpd.GeoDataFrame", rs.change(source, model=model)), Path(out))
        return
    rs.change(source, read.place_from(out, service, is_beside=True), model=model)
    show.text(out)


@asking.command()
@taking(StorageOptions)
def classes(  # noqa: PLR0913  each is an option
    service: StorageOptions,
    map_path: MapPath,
    *,
    out: NewMap,
    k: Annotated[int, typer.Option("--k", "-k", min=2, max=255, help="How many classes.")] = 12,
    like: Annotated[str | None, typer.Option(help="A map of classes: use its classes and colours.")] = None,
    model: Model = None,
    span: Span = None,
) -> None:
    """Sort the tokens of a map into classes of alike vectors."""
    same = None if like is None else read.place_from(like, service, is_beside=True)
    new = read.place_from(out, service, is_beside=True)
    rs.classes(read.place_from(map_path, service), new, k=k, like=same, model=model, span=span)
    show.text(out)


def _example(word: str) -> str | tuple[float, float]:
    """Read a pair of numbers as longitude and latitude, and anything else as an id."""
    parts = word.split(",")
    if len(parts) == _PAIR:
        try:
            return float(parts[0]), float(parts[1])
        except ValueError:
            return word
    return word


def _give(table: gpd.GeoDataFrame, out: Path | None) -> None:
    """Write a table to a file, or print it."""
    if out is None:
        rows = table.drop(columns=table.geometry.name).reset_index()
        show.table([{str(name): value for name, value in row.items()} for row in rows.to_dict("records")])
        return
    if not out.parent.is_dir():
        raise SpecError("--out", value=out, reason="its folder does not exist", fix="make the folder first")
    getattr(table, _WRITERS.get(out.suffix.lower(), "to_file"))(out)
    show.text(out)
