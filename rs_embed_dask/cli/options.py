"""What can be typed after a command: the options of a request, said once and shared by the commands that take one.

Typer reads a command's options from its signature. `taking` writes that signature from dataclasses, so that
`embed`, `plan` and `inspect` offer the same words with the same help.
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

__all__ = ["CliOptions", "ClusterOptions", "PlaceOptions", "ProviderOptions", "taking"]

PLACE, TIME, MODEL, IMAGERY, RUN = "Places", "Time", "Models and output", "Imagery", "Where it runs"


@dataclass(frozen=True)
class PlaceOptions:
    """Where: a file, points or boxes."""

    places: Annotated[
        Path | None,
        typer.Argument(
            help="A vector file (GeoJSON, GeoPackage, Shapefile, ...) of polygons or points.", show_default=False
        ),
    ] = None
    point: Annotated[
        list[str],
        typer.Option(help="LON,LAT,BUFFER: a square of 2 x BUFFER metres. Can be repeated.", rich_help_panel=PLACE),
    ] = field(default_factory=list)
    bbox: Annotated[
        list[str], typer.Option(help="WEST,SOUTH,EAST,NORTH in degrees. Can be repeated.", rich_help_panel=PLACE)
    ] = field(default_factory=list)
    buffer: Annotated[
        float | None, typer.Option(help="Metres around each point of the file.", rich_help_panel=PLACE)
    ] = None


@dataclass(frozen=True)
class ProviderOptions:
    """Where pixels come from."""

    provider: Annotated[
        str,
        typer.Option(
            help="auto, planetary_computer, stac, synthetic, files, or a registered one.", rich_help_panel=IMAGERY
        ),
    ] = "auto"
    url: Annotated[
        str | None, typer.Option(help="Address of a STAC API, for --provider stac.", rich_help_panel=IMAGERY)
    ] = None
    provider_option: Annotated[
        list[str],
        typer.Option(help="NAME=VALUE, given to the provider; JSON values. Can be repeated.", rich_help_panel=IMAGERY),
    ] = field(default_factory=list)


@dataclass(frozen=True)
class TimeOptions:
    """When."""

    year: Annotated[int | None, typer.Option(help="One calendar year.", rich_help_panel=TIME)] = None
    start: Annotated[str | None, typer.Option(help="First day, YYYY-MM-DD.", rich_help_panel=TIME)] = None
    end: Annotated[str | None, typer.Option(help="The day after the last, YYYY-MM-DD.", rich_help_panel=TIME)] = None


@dataclass(frozen=True)
class ModelOptions:
    """Which models, and how they are run."""

    model: Annotated[
        list[str],
        typer.Option(
            "--model", "-m", help="ID, ID:VARIANT or ID:VARIANT:MODALITY. Can be repeated.", rich_help_panel=MODEL
        ),
    ] = field(default_factory=list)
    weights: Annotated[
        list[str],
        typer.Option(help="auto, random, or a path; or MODEL=PATH, repeated.", rich_help_panel=MODEL),
    ] = field(default_factory=list)
    model_option: Annotated[
        list[str],
        typer.Option(help="NAME=VALUE for all models, or MODEL.NAME=VALUE. Can be repeated.", rich_help_panel=MODEL),
    ] = field(default_factory=list)
    accept_licence: Annotated[
        bool,
        typer.Option("--accept-licence", help="Accept weights with a non-commercial licence.", rich_help_panel=MODEL),
    ] = False
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.", rich_help_panel=MODEL)] = "auto"
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.", rich_help_panel=MODEL)] = "auto"


@dataclass(frozen=True)
class OutputOptions:
    """What comes out, and how images are made to fit."""

    output: Annotated[
        str, typer.Option(help="pooled (one vector per place) or grid (a map of vectors).", rich_help_panel=MODEL)
    ] = "pooled"
    pooling: Annotated[
        str | None,
        typer.Option(help="mean, max or cls, for pooled; left out: each model's own vector.", rich_help_panel=MODEL),
    ] = None
    prep: Annotated[
        str, typer.Option(help="resize, tile or auto: how an image is made to fit.", rich_help_panel=MODEL)
    ] = "resize"


@dataclass(frozen=True)
class FetchOptions:
    """How imagery is read."""

    sensor: Annotated[
        str | None, typer.Option(help="Read this collection instead of the model's first.", rich_help_panel=IMAGERY)
    ] = None
    resolution_m: Annotated[
        float | None, typer.Option(help="Metres per pixel, instead of the model's.", rich_help_panel=IMAGERY)
    ] = None
    max_cloud_pct: Annotated[
        float | None, typer.Option(help="Leave out scenes with more cloud.", rich_help_panel=IMAGERY)
    ] = None
    mask: Annotated[str | None, typer.Option(help="Cloud mask, or none.", rich_help_panel=IMAGERY)] = None
    composite: Annotated[str | None, typer.Option(help="median, mosaic or clearest.", rich_help_panel=IMAGERY)] = None


@dataclass(frozen=True)
class CliOptions(FetchOptions, ProviderOptions, OutputOptions, ModelOptions, TimeOptions, PlaceOptions):
    """Everything that describes a request."""


@dataclass(frozen=True)
class ClusterOptions:
    """Where a run happens."""

    cluster: Annotated[
        str | None,
        typer.Option(help="Address of a Dask scheduler; without it, one is made on this machine.", rich_help_panel=RUN),
    ] = None
    workers: Annotated[
        int, typer.Option(min=1, help="Worker processes of the cluster made here.", rich_help_panel=RUN)
    ] = 2


def taking(*kinds: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of some dataclasses, each handed over as one value."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        parts = {kind: _parameters(kind) for kind in kinds}
        own_hints = get_type_hints(command, include_extras=True)
        own = [
            parameter.replace(annotation=own_hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in list(inspect.signature(command).parameters.values())[len(kinds) :]
        ]

        @functools.wraps(command)
        def wrapped(**given: Any) -> None:
            values = [kind(**{p.name: given.pop(p.name) for p in parts[kind]}) for kind in kinds]
            command(*values, **given)

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
