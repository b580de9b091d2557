"""The options of the commands, written once and shared by every command that takes a request.

Typer reads a command's options from its signature. `taking` writes that signature from dataclasses, so that
`embed`, `plan` and `inspect` offer the same options with the same help.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

__all__ = [
    "CliMapOptions",
    "CliOptions",
    "ClusterOptions",
    "DoctorOptions",
    "FetchOptions",
    "ModelOptions",
    "PlaceOptions",
    "ProviderOptions",
    "RegionOptions",
    "StorageOptions",
    "taking",
]

_places, _time, _model, _field, _imagery, _run = (
    functools.partial(typer.Option, rich_help_panel=panel)
    for panel in ("Places", "Time", "Models and output", "Field", "Imagery", "Where it runs")
)


@dataclass(frozen=True)
class PlaceOptions:
    """Where: a file, points or boxes."""

    places: Annotated[
        Path | None,
        typer.Argument(
            help="Vector file (GeoJSON, GeoPackage, Shapefile, ...) of polygons or points.", show_default=False
        ),
    ] = None
    point: Annotated[
        list[str], _places(help="LON,LAT,BUFFER: a square with a side of 2 x BUFFER metres. Can be repeated.")
    ] = field(default_factory=list)
    bbox: Annotated[list[str], _places(help="WEST,SOUTH,EAST,NORTH in degrees. Can be repeated.")] = field(
        default_factory=list
    )
    buffer: Annotated[float | None, _places(help="Half the side of a square around each point, in metres.")] = None
    id_column: Annotated[str | None, _places(help="Column of the file with an id for each place.")] = None


@dataclass(frozen=True)
class ProviderOptions:
    """Where pixels come from."""

    provider: Annotated[
        str, _imagery(help="auto, planetary_computer, stac, earth_engine, files, synthetic or a registered one.")
    ] = "auto"
    url: Annotated[str | None, _imagery(help="Address of a STAC API, for --provider stac.")] = None
    provider_option: Annotated[
        list[str], _imagery(help="NAME=VALUE, passed to the provider; values may be JSON. Can be repeated.")
    ] = field(default_factory=list)


@dataclass(frozen=True)
class TimeOptions:
    """When."""

    year: Annotated[int | None, _time(help="One calendar year.")] = None
    start: Annotated[str | None, _time(help="First day, YYYY-MM-DD.")] = None
    end: Annotated[str | None, _time(help="Day after the last, YYYY-MM-DD.")] = None


@dataclass(frozen=True)
class DoctorOptions(TimeOptions):
    """What is checked, where and when."""

    product: Annotated[str | None, _imagery(help="Check this precomputed product instead, such as tessera.")] = None
    product_option: Annotated[list[str], _imagery(help="NAME=VALUE of the product. Can be repeated.")] = field(
        default_factory=list
    )
    sensor: Annotated[str | None, _imagery(help="Sensor of the search and the block.")] = None
    at: Annotated[str | None, _places(help="LON,LAT of the search and the block.")] = None
    live: Annotated[
        bool, typer.Option("--live/--local", help="Ask the service, or check only what needs no network.")
    ] = True


@dataclass(frozen=True)
class ModelOptions:
    """Which models, and how they are run."""

    model: Annotated[
        list[str], _model("--model", "-m", help="ID, ID:VARIANT or ID:VARIANT:MODALITY. Can be repeated.")
    ] = field(default_factory=list)
    weights: Annotated[list[str], _model(help="auto, random, or a path; or MODEL=PATH. Can be repeated.")] = field(
        default_factory=list
    )
    model_option: Annotated[
        list[str], _model(help="NAME=VALUE for all models, or MODEL.NAME=VALUE. Can be repeated.")
    ] = field(default_factory=list)
    accept_licence: Annotated[
        bool, _model("--accept-licence", help="Accept weights with a non-commercial licence.")
    ] = False
    device: Annotated[str, _model(help="auto, cpu or cuda.")] = "auto"
    dtype: Annotated[str, _model(help="auto, float32, bfloat16 or float16.")] = "auto"


@dataclass(frozen=True)
class OutputOptions:
    """What comes out, and how images are fitted to the network."""

    output: Annotated[str, _model(help="pooled (one vector per place) or grid (a map of vectors).")] = "pooled"
    pooling: Annotated[
        str | None, _model(help="Pooling of --output pooled: mean, max or cls. Default: each model's own.")
    ] = None
    within: Annotated[
        str, _model(help="What counts of a polygon: shape, box, or auto (its shape, but for class tokens).")
    ] = "auto"
    positions: Annotated[
        str,
        _model(help="Of --output grid: kept, auto or removed, or a store whose table of positions is removed."),
    ] = "kept"
    prep: Annotated[str, _model(help="How images are fitted to the network: auto (native scale), resize or tile.")] = (
        "auto"
    )
    chunk_items: Annotated[
        int | None, _model(min=1, help="Places of one chunk of a new store. Default: by their number and size.")
    ] = None


@dataclass(frozen=True)
class FetchOptions:
    """How imagery is read."""

    n_frames: Annotated[
        int | None, _time(help="Frames that the span is cut into, for models that take several.", min=1)
    ] = None
    frames: Annotated[
        str | None, _time(help="available: the days with acquisitions, up to the model's maximum or --n-frames.")
    ] = None
    for_model: Annotated[
        list[str],
        _imagery(help="MODEL.NAME=VALUE: prep, sensor, resolution_m, mask, ... of one model. Can be repeated."),
    ] = field(default_factory=list)
    retry: Annotated[
        list[str], _imagery(help="NAME=VALUE of the retries of reads: attempts, deadline_s, ... Can be repeated.")
    ] = field(default_factory=list)
    check_input: Annotated[
        bool, _imagery("--check-input", help="Name in each item's reason what looks wrong with its pixels.")
    ] = False
    sensor: Annotated[str | None, _imagery(help="Read this collection instead of the model's default.")] = None
    resolution_m: Annotated[float | None, _imagery(help="Metres per pixel. Default: the model's own.")] = None
    max_cloud_pct: Annotated[float | None, _imagery(help="Leave out scenes with more cloud, in percent.")] = None
    mask: Annotated[str | None, _imagery(help="Name of a cloud mask, or none.")] = None
    composite: Annotated[str | None, _imagery(help="median, mosaic or clearest.")] = None
    orbit: Annotated[str | None, _imagery(help="ascending or descending: of radar, read these passes alone.")] = None


@dataclass(frozen=True)
class CliOptions(FetchOptions, ProviderOptions, OutputOptions, ModelOptions, TimeOptions, PlaceOptions):
    """Everything that describes a request."""


@dataclass(frozen=True)
class RegionOptions:
    """The area of a map."""

    region: Annotated[
        Path | None,
        typer.Argument(help="Vector file (GeoJSON, GeoPackage, Shapefile, ...) of areas.", show_default=False),
    ] = None
    bbox: Annotated[str | None, _places(help="WEST,SOUTH,EAST,NORTH in degrees, instead of a file.")] = None


@dataclass(frozen=True)
class FieldOptions:
    """How the field lies, and how it is stored."""

    crs: Annotated[str, _field(help="utm (a group per zone), or one projection in metres such as EPSG:3035.")] = "utm"
    overlap: Annotated[float, _field(help="Share of a window's side that the next window covers too.")] = 1 / 12
    positions: Annotated[
        str,
        _field(help="auto, removed or kept: what the position in the window adds; or a store whose table is removed."),
    ] = "auto"
    store_dtype: Annotated[str, _field(help="float16, float32 or int8.")] = "float16"


@dataclass(frozen=True)
class CliMapOptions(FetchOptions, ProviderOptions, FieldOptions, ModelOptions, TimeOptions, RegionOptions):
    """Everything that describes a map."""


@dataclass(frozen=True)
class ClusterOptions:
    """Where a run happens."""

    cluster: Annotated[str | None, _run(help="Address of a Dask scheduler. Default: a local cluster.")] = None
    workers: Annotated[int, _run(min=1, help="Worker processes of the local cluster.")] = 2
    wait: Annotated[float, _run(min=0, help="Seconds to wait while another run writes to the store.")] = 0.0


@dataclass(frozen=True)
class StorageOptions:
    """How the service is reached that a store lies on."""

    storage_option: Annotated[
        list[str],
        typer.Option(help="NAME=VALUE of an object store, such as region=eu-central-1; no secrets. Can be repeated."),
    ] = field(default_factory=list)


def taking(*kinds: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of some dataclasses, each passed to it as one value."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        parts = {kind: _parameters(kind) for kind in kinds}
        own_hints = get_type_hints(command, include_extras=True)
        own = [
            parameter.replace(annotation=own_hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in list(inspect.signature(command).parameters.values())[len(kinds) :]
        ]

        @functools.wraps(command)
        def wrapped(**options: Any) -> None:
            values = [kind(**{p.name: options.pop(p.name) for p in parts[kind]}) for kind in kinds]
            command(*values, **options)

        joined = [parameter for part in parts.values() for parameter in part] + own
        wrapped.__signature__ = inspect.Signature(joined)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {}
        del wrapped.__wrapped__
        return wrapped

    return decorate


def _parameters(kind: type) -> list[inspect.Parameter]:
    """Turn the fields of an options dataclass into keyword parameters."""
    hints = get_type_hints(kind, include_extras=True)
    return [
        inspect.Parameter(
            item.name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=hints[item.name],
            default=item.default if item.default_factory is dataclasses.MISSING else item.default_factory(),
        )
        for item in dataclasses.fields(kind)
    ]
