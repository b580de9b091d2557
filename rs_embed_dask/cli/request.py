"""From the options on the command line to a request: places, span, models, output, provider, fetch."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rs_embed_dask.cli.options import (
    CliMapOptions,
    CliOptions,
    DoctorOptions,
    FetchOptions,
    ModelOptions,
    OutputOptions,
    PlaceOptions,
    ProviderOptions,
    RegionOptions,
    StorageOptions,
    TimeOptions,
)
from rs_embed_dask.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rs_embed_dask.products import Reader
    from rs_embed_dask.providers import Provider
    from rs_embed_dask.providers.checks import Trial
    from rs_embed_dask.specs import BBox, ModelSpec, OutputSpec, PointBuffer, Polygon, TemporalSpec

__all__ = [
    "CliMap",
    "CliRequest",
    "dims_from",
    "folds_from",
    "map_from",
    "part_from",
    "product_from",
    "provider_from",
    "request_from",
    "span_from",
    "storage_from",
    "trial_from",
]


@dataclass(frozen=True)
class CliRequest:
    """The arguments of a verb of the API."""

    places: Path | list[BBox | PointBuffer | Polygon]
    models: list[ModelSpec]
    span: TemporalSpec
    keywords: dict[str, Any]


@dataclass(frozen=True)
class CliMap:
    """The arguments of a verb of the API that makes a map."""

    region: Path | BBox
    models: list[ModelSpec]
    span: TemporalSpec
    keywords: dict[str, Any]


def request_from(options: CliOptions) -> CliRequest:
    """Build the request that the options describe."""
    from rs_embed_dask.specs import InputPrep

    places = places_from(options)
    span = span_from(options)
    models = models_from(options, options.for_model)
    keywords = {"output": output_from(options), "prep": InputPrep(options.prep), **_source(options, options)}
    return CliRequest(
        places,
        models,
        span,
        keywords | {"ids": options.id_column, "buffer_m": options.buffer},
    )


def map_from(options: CliMapOptions) -> CliMap:
    """Build the map that the options describe."""
    region, span = region_from(options), span_from(options)
    models = models_from(options, options.for_model)
    field = {
        "crs": options.crs,
        "overlap": options.overlap,
        "positions": options.positions,
        "dtype": options.store_dtype,
    }
    return CliMap(region, models, span, field | _source(options, options))


def _source(fetch: FetchOptions, provider: ProviderOptions) -> dict[str, Any]:
    """Read where pixels come from, and how."""
    from rs_embed_dask.specs import FetchSpec, SensorSpec

    spec = FetchSpec(
        resolution_m=fetch.resolution_m,
        max_cloud_pct=fetch.max_cloud_pct,
        mask=fetch.mask,
        composite=fetch.composite,
        orbit=fetch.orbit,
    )
    return {
        "provider": provider_from(provider),
        "fetch": spec,
        "sensor": None if fetch.sensor is None else SensorSpec(fetch.sensor),
        "n_frames": fetch.n_frames,
        "frames": fetch.frames,
        "check_input": fetch.check_input,
        "retry": dict(setting(text, option="--retry", example="attempts=3") for text in fetch.retry) or None,
    }


def region_from(options: RegionOptions) -> Path | BBox:
    """Read the region of a map: a file, or a box."""
    from rs_embed_dask.specs import BBox

    if (options.region is None) == (options.bbox is None):
        reason = "no region was given" if options.region is None else "a file and a box were given"
        fix = "name a vector file, or give --bbox WEST,SOUTH,EAST,NORTH"
        raise SpecError("region", reason=reason, fix=fix)
    if options.bbox is not None:
        west, south, east, north = numbers("--bbox", options.bbox, names=("WEST", "SOUTH", "EAST", "NORTH"))
        return BBox(west, south, east, north)
    assert options.region is not None
    if not options.region.exists():
        raise SpecError("REGION", value=str(options.region), reason="there is no such file", fix="check the path")
    return options.region


def places_from(options: PlaceOptions) -> Path | list[BBox | PointBuffer | Polygon]:
    """Read the places: the file itself where it is all, else its places, then the points, then the boxes."""
    from rs_embed_dask.specs import BBox, PointBuffer
    from rs_embed_dask.specs.places import places

    listed: list[BBox | PointBuffer | Polygon] = []
    if options.places is not None:
        if not options.places.exists():
            raise SpecError("PLACES", value=str(options.places), reason="there is no such file", fix="check the path")
        if not options.point and not options.bbox:
            return options.places  # with its columns
        if options.id_column is not None:
            reason, fix = "points and boxes have no columns", "give the file alone, or leave --id-column out"
            raise SpecError("--id-column", value=options.id_column, reason=reason, fix=fix)
        listed += places(options.places, buffer_m=options.buffer)
    if options.id_column is not None:
        fix = "name a file, or leave --id-column out"
        raise SpecError("--id-column", value=options.id_column, reason="there is no file with columns", fix=fix)
    for text in options.point:
        lon, lat, buffer_m = numbers("--point", text, names=("LON", "LAT", "BUFFER"))
        listed.append(PointBuffer(lon, lat, buffer_m))
    for text in options.bbox:
        west, south, east, north = numbers("--bbox", text, names=("WEST", "SOUTH", "EAST", "NORTH"))
        listed.append(BBox(west, south, east, north))
    if not listed:
        raise SpecError(
            "places",
            reason="no place was given",
            fix="name a vector file, or give --point LON,LAT,BUFFER or --bbox WEST,SOUTH,EAST,NORTH",
        )
    return listed


def first_place(request: CliRequest) -> BBox | PointBuffer | Polygon:
    """Return the first place of a request."""
    from rs_embed_dask.specs.places import places

    listed = request.places
    return (places(listed, buffer_m=request.keywords["buffer_m"]) if isinstance(listed, Path) else listed)[0]


def numbers(option: str, text: str, *, names: tuple[str, ...]) -> list[float]:
    """Read comma-separated numbers, as many as there are names."""
    form = ",".join(names)
    parts = text.split(",")
    if len(parts) != len(names):
        reason = f"{len(names)} numbers are needed, not {len(parts)}"
        raise SpecError(option, value=text, reason=reason, fix=f"write {option} {form}")
    try:
        return [float(part) for part in parts]
    except ValueError:
        raise SpecError(option, value=text, reason="not every part is a number", fix=f"write {option} {form}") from None


def span_from(options: TimeOptions) -> TemporalSpec:
    """Read the span: a year, or a start and an end."""
    from rs_embed_dask.specs import TemporalSpec

    ranged = options.start is not None or options.end is not None
    if options.year is not None and ranged:
        raise SpecError(
            "--year",
            value=options.year,
            reason="it was given together with --start or --end",
            fix="give one or the other",
        )
    if options.year is not None:
        return TemporalSpec.year(options.year)
    if options.start is None or options.end is None:
        reason = "only one end of the span was given" if ranged else "no span was given"
        raise SpecError("time", reason=reason, fix="give --year 2022, or --start 2022-06-01 --end 2022-09-01")
    return TemporalSpec.range(options.start, options.end)


def span_if_any(options: TimeOptions) -> TemporalSpec | None:
    """Read the span, or None where no option names one."""
    given = (options.year, options.start, options.end)
    return None if all(each is None for each in given) else span_from(options)


def product_from(options: DoctorOptions, provider: Provider) -> Reader:
    """Return the reader of a precomputed product with its options."""
    from rs_embed_dask.models import card
    from rs_embed_dask.products import reader_for
    from rs_embed_dask.specs import ModelSpec

    spec = ModelSpec.of(str(options.product))
    if card(spec.id).kind != "product":
        fix = "name a product such as tessera, or check the provider that the model reads from"
        raise SpecError("--product", value=spec.id, reason="its vectors are computed, not read", fix=fix)
    chosen = dict(setting(text, option="--product-option", example="cache_gb=5") for text in options.product_option)
    return reader_for(card(spec.id), dataclasses.replace(spec, options=tuple(chosen.items())), provider)


def trial_from(options: DoctorOptions) -> Trial | None:
    """Read where, when and of which sensor a provider is tried; None where no option says so."""
    from rs_embed_dask.imagery.dates import Span
    from rs_embed_dask.providers.checks import Trial

    span = span_if_any(options)
    given: dict[str, Any] = {} if options.sensor is None else {"sensor": options.sensor}
    if span is not None:
        given["span"] = Span(span.start_date, span.end_date)
    if options.at is not None:
        given |= dict(zip(("lon", "lat"), numbers("--at", options.at, names=("LON", "LAT")), strict=True))
    return Trial(**given) if given else None


def suitability_keywords(path: Path, options: ProviderOptions, *, buffer_m: float | None) -> dict[str, Any]:
    """Read what `can_run` takes: provider options describe the data where the file holds pixels."""
    from rs_embed_dask.engine.suitability import is_imagery

    if is_imagery(path):
        return dict(setting(text) for text in options.provider_option)
    given = provider_from(options)
    return {"buffer_m": buffer_m, "provider": None if given == "auto" else given}


def models_from(options: ModelOptions, own: Sequence[str] = ()) -> list[ModelSpec]:
    """Read the models, each with its weights, device, dtype and licence, and what is its own of how pixels are read."""
    from rs_embed_dask.specs import ModelSpec

    if not options.model:
        raise SpecError(
            "--model", reason="no model was named", fix="add --model ID; `rs-embed-dask models` lists the ids"
        )
    weights = weights_from(options.weights)
    choices, settings = choices_from(options.model_option), choices_from(own, "--for-model", "galileo.prep=resize")
    for option, by_model in (("--weights", weights), ("--model-option", choices), ("--for-model", settings)):
        unused = sorted(set(by_model) - {"", *options.model})
        if unused:
            fix = f"name one of {', '.join(options.model)}"
            raise SpecError(option, value=unused[0], reason="no --model has this name", fix=fix)
    return [
        dataclasses.replace(
            ModelSpec.of(text),
            weights=weights.get(text, weights.get("", "auto")),
            options=tuple((choices.get("", {}) | choices.get(text, {})).items()),
            accept_licence=options.accept_licence,
            device=options.device,
            dtype=options.dtype,
            **own_from(settings.get("", {}) | settings.get(text, {})),
        )
        for text in options.model
    ]


def weights_from(texts: list[str]) -> dict[str, str]:
    """Read ``--weights``: MODEL=PATH by model, a value for all models under the empty name."""
    by_model: dict[str, str] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if equals and not Path(text).exists():  # an existing file may have "=" in its name
            by_model[name] = path
        else:
            by_model[""] = text
    return by_model


def own_from(settings: dict[str, Any]) -> dict[str, Any]:
    """Read ``--for-model``: `prep` and `sensor`, and fields of `FetchSpec`."""
    fetch = {name: value for name, value in settings.items() if name not in {"prep", "sensor"}}
    return {name: value for name, value in settings.items() if name not in fetch} | ({"fetch": fetch} if fetch else {})


def choices_from(
    texts: Sequence[str], option: str = "--model-option", example: str = "patch_px=4"
) -> dict[str, dict[str, Any]]:
    """Read MODEL.NAME=VALUE: by model, those for all under the empty name."""
    by_model: dict[str, dict[str, Any]] = {}
    for text in texts:
        target, equals, value = text.partition("=")
        model, _, name = target.rpartition(".")
        key, choice = setting(f"{name}{equals}{value}", option=option, example=example)
        by_model.setdefault(model, {})[key] = choice
    return by_model


def output_from(options: OutputOptions) -> OutputSpec:
    """Read the output's shape."""
    from rs_embed_dask.specs import OutputSpec

    within: Any = options.within  # judged there
    if options.output == "pooled":
        return OutputSpec("pooled", options.pooling, within=within, positions=options.positions)
    if options.output == "grid":
        return OutputSpec.grid(within=within, positions=options.positions)
    raise SpecError(
        "--output",
        value=options.output,
        reason="there is no such output",
        fix="write --output pooled or --output grid",
    )


def dims_from(text: str | None) -> str | list[int] | None:
    """Read ``--dims``: numbers separated by commas, or a word."""
    parts = [] if text is None else text.split(",")
    return [int(part) for part in parts] if parts and all(part.strip().isdecimal() for part in parts) else text


def folds_from(words: list[str] | None) -> dict[str, Any] | None:
    """Read ``--fold``: names, each with or without ``=SETTING``."""
    if not words:
        return None
    pairs = (setting(word, option="--fold", example="blocks=50000") for word in words if "=" in word)
    return {word: None for word in words if "=" not in word} | dict(pairs)


def part_from(text: str | None) -> tuple[int, int] | None:
    """Read ``--part``: K/N."""
    if text is None:
        return None
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal()):
        raise SpecError("--part", value=text, reason="it is not K/N", fix="write for example --part 1/4")
    return int(number), int(count)


def provider_from(options: ProviderOptions) -> Provider | str:
    """Read the provider: its name alone, or opened with its options."""
    from rs_embed_dask.providers import open_provider

    settings = dict(setting(text) for text in options.provider_option)
    if options.url is not None:
        settings["url"] = options.url
    if options.provider != "auto":
        return open_provider(options.provider, **settings)
    if settings:
        raise SpecError(
            "--provider",
            value="auto",
            reason=f"{', '.join(sorted(settings))} cannot be passed to a provider that is not named",
            fix="name the provider, for example --provider stac",
        )
    return "auto"


def storage_from(options: StorageOptions) -> dict[str, str] | None:
    """Read ``--storage-option``, whose values are texts, such as the name of an account; None where none is given."""
    option, example = "--storage-option", "region=eu-central-1"
    for text in options.storage_option:
        if not text.partition("=")[0].isidentifier() or "=" not in text:
            fix = f"write for example {option} {example}"
            # it is not repeated, for it may be a secret
            raise SpecError(option, value="...", reason="it is not NAME=VALUE", fix=fix)
    return {name: value for name, _, value in (text.partition("=") for text in options.storage_option)} or None


def setting(text: str, *, option: str = "--provider-option", example: str = "seed=7") -> tuple[str, Any]:
    """Read NAME=VALUE; the value is parsed as JSON where that is possible, else it is the text itself."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise SpecError(option, value=text, reason="it is not NAME=VALUE", fix=f"write for example {option} {example}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
