"""The models to choose from: rows for a table, and one page per model. No torch here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask.imagery.sensor_types import DB, KELVIN, REFLECTANCE
from rs_embed_dask.imagery.sensors import is_public, sensor, sources_of
from rs_embed_dask.models import card as card_of
from rs_embed_dask.pages import wording as words
from rs_embed_dask.preprocess.inputs import DEGREES
from rs_embed_dask.preprocess.steps import MinMax
from rs_embed_dask.show.tables import Section, page_html, page_markdown, page_text
from rs_embed_dask.specs import ModelSpec, OutputSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rs_embed_dask.cards.card import Card, Product, Variant
    from rs_embed_dask.preprocess.inputs import Inputs, Option

__all__ = ["ModelPage", "describe_model", "example", "fetch_weights"]

ALIKE: Final[dict[str, float]] = {REFLECTANCE: 1200.0, DB: -12.0, KELVIN: 290.0, "byte": 90.0, "m": 120.0}
SIDES: Final = {"dates": "dates=dates", "place": "place=(4.35, 50.85)", "gsd": "resolution_m={metres:g}"}
DAYS: Final = ("2022-07-15", "2022-06-15", "2022-08-15")
FREE_PX: Final = 64
GRID_PX: Final = 64
LARGEST_M: Final = 50_000.0
SUMMER: Final = 'rs.TemporalSpec.range("2022-06-01", "2022-09-01")'
ARRAYS: Final = "Arrays of your own: (frame, band, y, x)"
IMPORTS: Final = ("import numpy as np", "import rs_embed_dask as rs", "")


def example(card: Card) -> str:
    """Return Python code that embeds a place, and an array, with the model's default variant."""
    if card.product is not None:
        return "\n".join(_product(card, card.product))
    inputs = card.resolved_inputs(ModelSpec(card.id))
    first = inputs[0]
    side = first.size_px or min(first.max_px or FREE_PX, FREE_PX)
    start = [*IMPORTS, f"model = {_spec(card)}", _output(card)]
    if not all(any(map(is_public, one.sensors)) for one in inputs):
        return "\n".join([*start, *_arrays(card, inputs, side, name="embedding"), _shape(card)])
    buffer = side * first.resolution_m / 2
    lines = [
        f"summer = {SUMMER}",
        f"place = rs.PointBuffer(4.35, 50.85, buffer_m={buffer:g})  # {side} px of {first.resolution_m:g} m",
        "embedding = rs.get_embedding(model, place, summer, output=output)",
        _shape(card),
    ]
    return "\n".join([*start, *lines, *_arrays(card, inputs, side, name="mine")])


def _product(card: Card, product: Product) -> list[str]:
    span = f"rs.TemporalSpec.year({product.years[1]})" if product.years[1] else f"{SUMMER}  # any will do"
    buffer = min(product.resolution_m * GRID_PX / 2, LARGEST_M)
    return [
        *IMPORTS[1:],
        _output(card),
        f"span = {span}",
        f"place = rs.PointBuffer(4.35, 50.85, buffer_m={buffer:g})",
        f'embedding = rs.get_embedding("{card.id}", place, span, output=output)',
        _shape(card),
    ]


def _output(card: Card) -> str:
    return f"output = rs.OutputSpec.pooled()  # {', '.join(map(repr, card.poolings))}; or rs.OutputSpec.grid()"


def _shape(card: Card) -> str:
    length = card.dim(ModelSpec(card.id), OutputSpec("pooled", card.poolings[0]))
    return f"embedding.data.shape  # ({length},)"


def _spec(card: Card) -> str:
    weights = card.variant(None).weights
    arguments = []
    if weights is not None and not weights.repo:
        arguments.append(f'weights="{weights.file or "weights.pth"}"')
    if weights is not None and weights.restricted:
        arguments.append("accept_licence=True")
    return f'rs.ModelSpec("{card.id}", {", ".join(arguments)})' if arguments else f'rs.ModelSpec("{card.id}")'


def _arrays(card: Card, inputs: Sequence[Inputs], side: int, *, name: str) -> list[str]:
    first = inputs[0]
    policy, sides = first.frames.policy, [SIDES[extra] for extra in card.extras if extra in SIDES]
    days = DAYS[:1] if policy == "single" else sorted(DAYS)
    frames = len(days) if "dates" in card.extras else first.frames.n or len(days)
    call = ", ".join([*(text.format(metres=first.resolution_m) for text in sides), "output=output"])
    dates, missing = json.dumps(days), "NaN where missing"
    pixels = {one.modality: _pixels(one, (frames, len(one.bands), side, side)) for one in inputs}
    units = {one.modality: words.unit_text(one.unit) for one in inputs}
    made = [f"# {ARRAYS}, {units[first.modality]}, {missing}.", f"pixels = {pixels[first.modality]}"]
    if len(inputs) > 1:
        lines = (f'    "{of}": {code},  # {units[of]}' for of, code in pixels.items())
        made = [f"# {ARRAYS}, {missing}.", "pixels = {", *lines, "}"]
        dates = f"dict.fromkeys(pixels, {dates})" if first.apart else dates
    return [
        "",
        *made,
        *([f"dates = {dates}  # one per frame"] if "dates" in card.extras else []),
        "loaded = rs.load_model(model)",
        f"{name} = loaded.embed(pixels, {call})",
    ]


def _pixels(first: Inputs, shape: tuple[int, ...]) -> str:
    """Return code for plausible values: one for all bands or, where units differ, the middle of each band's range."""
    ranges = next((step for step in first.steps if isinstance(step, MinMax)), None)
    if first.unit in ALIKE or ranges is None:
        return f"np.full({shape}, {ALIKE.get(first.unit, 1.0)})"
    middle = [round((low + high) / 2) for low, high in zip(ranges.low, ranges.high, strict=True)]
    return f"np.ones({shape}) * np.reshape(\n    {middle}, (-1, 1, 1)\n)"


SIDE: Final = {
    "dates": ("dates", "the middle of each frame's span", "`dates=`, one per frame"),
    "place": ("place", "longitude and latitude of the place's centre", "`place=(lon, lat)`"),
    "gsd": ("ground size", "metres of a pixel, from the grid that was read; see the notes", "`resolution_m=`"),
}
# The route that uses each source's table.
ROUTES: Final = {
    "planetary_computer": "planetary_computer",
    "earth_search": "stac (Earth Search)",
    "earth_engine": "earth_engine",
}
COARSE_M: Final = 1000.0
NAMED: Final = "a collection of your own, by `collections=`; no public one has it"
EVERYTHING: Final = "files and synthetic have it too"
READ: Final = "its vectors are read, not computed"
PLACED: Final = "its vectors are worked out from coordinates, without imagery"


@dataclass(frozen=True)
class ModelPage:
    """A model's card as a readable page.

    Attributes
    ----------
    card : Card
        The facts.
    """

    card: Card

    def __repr__(self) -> str:
        return f"ModelPage({self.card.id!r}; print it, or show it in a notebook)"

    def to_dict(self) -> dict[str, Any]:
        """Return the card as JSON values."""
        return self.card.describe()

    @property
    def title(self) -> str:
        """Title and id."""
        return f"{self.card.title} (`{self.card.id}`)"

    def sections(self) -> tuple[Section, ...]:
        """Return all facts in reading order, without empty sections."""
        card = self.card
        sections = (
            Section("What it is", _pairs(_what(card))),
            Section("Variants", _columns(_variant_rows(card)), _names(_variant_rows(card))),
            Section("Checkpoints", _columns(_weights_rows(card)), _names(_weights_rows(card))),
            *(part for inputs in card.inputs for part in _input_sections(card, inputs)),
            Section("Published", _pairs(_product_rows(card))),
            Section("Side inputs", _side_rows(card), ("what", "from a request", "with arrays of your own")),
            Section("Outputs", _output_rows(card), ("output", "dimension", "what it is")),
            Section("Options", _option_rows(card), ("option", "default", "choices", "meaning")),
            Section("Parity", ((card.parity,),) if card.parity else ()),
            Section("Where rs-embed 0.3.1 differs", tuple((text,) for text in card.deviations)),
            Section("Notes", tuple((text,) for text in card.notes)),
            Section("Example", code=example(card)),
        )
        return tuple(section for section in sections if section.rows or section.code)

    def to_markdown(self) -> str:
        """Format the page as Markdown."""
        return page_markdown(self.title, self.sections())

    def __str__(self) -> str:
        return page_text(self.title, self.sections())

    def _repr_html_(self) -> str:
        return page_html(self.title, self.sections())


def _pairs(facts: Iterator[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, text) for name, text in facts if text)


def _names(rows: list[dict[str, str]]) -> tuple[str, ...]:
    """Return the columns that are not empty in every row."""
    return tuple(name for name in (rows[0] if rows else {}) if any(row[name] for row in rows))


def _columns(rows: list[dict[str, str]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(row[name] for name in _names(rows)) for row in rows)


def _what(card: Card) -> Iterator[tuple[str, str]]:
    yield "id and aliases", ", ".join(f"`{name}`" for name in (card.id, *card.aliases))
    plus = ", joined by `+`" if card.together else ""
    modalities = ", ".join(words.modality_texts(card))
    yield "`modality=`", f"{modalities}{plus}; default: the first" if modalities else ""
    yield "kind", "" if card.product is None else READ if card.is_published else PLACED
    yield "paper", card.paper
    yield "citation", card.citation
    yield "written from", card.source
    yield "licence of the code", card.code_licence
    terms = dict.fromkeys(variant.weights for variant in card.variants if variant.weights)
    licences = ", ".join(dict.fromkeys(weights.licence for weights in terms))
    yield (
        "licence of the weights",
        licences or ("" if card.is_published else "it has no weights"),
    )
    if any(weights.restricted for weights in terms):
        yield "to accept it", "`accept_licence=True` in ModelSpec or load_model, `--accept-licence` on the command line"
    yield "arithmetic", "always float32" if card.float32 else ""


def _product_rows(card: Card) -> Iterator[tuple[str, str]]:
    product = card.product
    if product is None or not card.is_published:
        return
    first, last = product.years
    yield "read from", product.base_url
    yield "terms of the vectors", product.licence
    yield (
        "pixel",
        f"{product.resolution_m:g} m (a cell at the equator)"
        if product.resolution_m > COARSE_M
        else f"{product.resolution_m:g} m",
    )
    yield "time", f"one layer per year, {first} to {last}" if first else "one layer of all times"


def _variant_rows(card: Card) -> list[dict[str, str]]:
    default = card.variant(None)
    return [
        {
            "variant": f"`{variant.name}`" + (" (default)" if variant is default and len(card.variants) > 1 else ""),
            "also": ", ".join(f"`{name}`" for name in variant.aliases if name != variant.name),
            "million parameters": words.number(variant.params) if variant.params else "",
            "embedding dimension": str(words.lengths(card, card.poolings[0])[variant.name]),
            "token dimension": str(words.lengths(card, "grid")[variant.name]) if card.product is None else "",
            "token, px": str(variant.patch_px or card.patch_px) if card.product is None else "",
            "takes": variant.modality,
        }
        for variant in card.variants
    ]


def _weights_rows(card: Card) -> list[dict[str, str]]:
    return [_weights_row(variant) for variant in card.variants if variant.weights is not None]


def _weights_row(variant: Variant) -> dict[str, str]:
    weights = variant.weights
    if weights is None:  # pragma: no cover - the caller has looked
        raise TypeError(variant)
    where = weights.repo or weights.url
    elsewhere = weights.url if weights.repo else "" if weights.file else "give a file by weights=PATH"
    return {
        "variant": f"`{variant.name}`",
        "from": where,
        "file": f"`{weights.file}`" if weights.file else "",
        "revision": weights.revision if weights.repo else "",
        "sha256": weights.sha256,
        "bytes": str(weights.size or ""),
        "as consulted": weights.seen,
        "or": elsewhere,
        "licence": weights.licence,
    }


def _input_sections(card: Card, inputs: Inputs) -> Iterator[Section]:
    yield Section(f"Input `{inputs.modality}`", _pairs(_input_rows(card, inputs)))
    numbers = words.per_band_numbers(inputs)
    first = tuple(sensor(name) for name in inputs.sensors[:1])
    rows = tuple(
        (f"`{band}`", *(one.band(band).name for one in first), *(words.number(v[i]) for v in numbers.values()))
        for i, band in enumerate(inputs.bands)
    )
    header = ("band", *(one.id for one in first), *numbers)
    yield Section(f"Bands of `{inputs.modality}`, in order", rows, header)


def _input_rows(card: Card, inputs: Inputs) -> Iterator[tuple[str, str]]:
    yield "unit", words.unit_text(inputs.unit)
    yield "bands", words.some_bands_text(card)
    yield "read from", _sensors_text(inputs)
    yield "at", f"{inputs.resolution_m:g} m"
    yield "image", words.size_text(inputs, card.patch_px)
    square = f"if the imagery read is not square: {words.rectangle_text(inputs)}"
    yield "other shapes", "" if inputs.native else square
    yield "frames", words.frames_text(inputs.frames)
    yield "composite", inputs.composite if inputs.sensors else ""
    yield "cloud", f"scenes of at most {inputs.max_cloud_pct:g} %" if inputs.max_cloud_pct is not None else ""
    yield "mask", inputs.mask or _own_mask(inputs)
    yield "gaps", words.fill_text(inputs)
    for count, text in enumerate(words.steps_texts(inputs), 1):
        yield f"step {count}", text
    yield from words.when_texts(inputs)


def _own_mask(inputs: Inputs) -> str:
    own = {name: sensor(name).default_mask for name in inputs.sensors}
    return words.grouped({name: mask for name, mask in own.items() if mask != "none"})


def _sensors_text(inputs: Inputs) -> str:
    """Name the sensors, the preferred one first, each with the providers that offer it."""
    if inputs.unit == DEGREES:
        return "where the pixels lie: an array's x, y and reference system"
    if not inputs.sensors:
        return "arrays of your own; no provider offers it"
    had: dict[str, dict[str, str]] = {source.sensor: {} for name in ROUTES for source in sources_of(name)}
    for name, route in ROUTES.items():
        for source in sources_of(name):
            had[source.sensor].setdefault(route, source.collection or NAMED)
    each = (
        f"`{name}` ({', '.join(f'{route}: {collection}' for route, collection in had[name].items())})"
        if name in had
        else f"`{name}`"
        for name in inputs.sensors
    )
    listed = ", else ".join(each)
    return listed if all(sensor(name).kind == "product" for name in inputs.sensors) else f"{listed}; {EVERYTHING}"


def _side_rows(card: Card) -> tuple[tuple[str, str, str], ...]:
    rows = [SIDE[name] for name in card.extras if name in SIDE]
    if any(dict(inputs.per_band).get("wavelength_um") for inputs in card.inputs):
        rows.append(("wavelengths", "those of the bands, as listed", "the same"))
    return tuple(rows)


def _output_rows(card: Card) -> tuple[tuple[str, str, str], ...]:
    meanings = dict(card.outputs)
    pooled = {name: f"pooled `{name}`" for name in card.poolings}
    if len(pooled) > 1:
        pooled[card.poolings[0]] += " (default)"
    rows = [(text, words.grouped(words.lengths(card, name)), meanings.get(name, "")) for name, text in pooled.items()]
    return (*rows, ("grid", words.grouped(words.lengths(card, "grid")), meanings.get("grid", "one token per cell")))


def _option_rows(card: Card) -> tuple[tuple[str, str, str, str], ...]:
    return tuple(
        (f"`{option.name}`", _default_text(card, option), words.choices_text(option), option.doc)
        for option in card.options
    )


def _default_text(card: Card, option: Option) -> str:
    """Format an option's default; a product's address appears once per page."""
    value = option.default
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return "see above" if card.product is not None and value == card.product.base_url else f"`{value!r}`"


def describe_model(name: str) -> ModelPage:
    """Describe a model in full.

    Parameters
    ----------
    name : str
        Its id or an alias.

    Returns
    -------
    ModelPage
        Prints as text, HTML and Markdown; ``.to_dict()`` is the whole card as JSON.

    Raises
    ------
    UnknownNameError
        With the closest names, if there is no such model.

    Examples
    --------
    >>> describe_model("SatMAE_RGB").card.id
    'satmae'
    """
    return ModelPage(card_of(name))


def fetch_weights(name: str, *, variant: str | None = None, accept_licence: bool = False) -> Path:
    """Download a model's weights into the hub cache and verify them, so that workers need no network.

    Parameters
    ----------
    name : str
        The model.
    variant : str, optional
        Its variant; the default one if omitted.
    accept_licence : bool, default False
        Accept restricted terms.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    LicenceError
        If the terms were not accepted.
    WeightsError
        If the file cannot be downloaded, or differs from the card's digest.

    Examples
    --------
    >>> fetch_weights("galileo", variant="nano")  # doctest: +SKIP
    """
    from rs_embed_dask.models.weights import fetch

    card = card_of(name)
    return fetch(card, card.variant(variant), accept_licence=accept_licence)
