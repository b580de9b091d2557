"""All that a card says of a model, as a page to be read: the same facts in a terminal, a notebook and the docs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask.imagery.sensors import sensor, sources_of
from rs_embed_dask.pages import sections as page, wording as words
from rs_embed_dask.pages.example import example
from rs_embed_dask.pages.sections import Section

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rs_embed_dask.cards.card import Card, Variant
    from rs_embed_dask.preprocess.inputs import Inputs, Option

__all__ = ["ModelPage"]

SIDE: Final = {
    "dates": ("dates", "the middle of each frame's span", "`dates=`, one a frame"),
    "place": ("place", "longitude and latitude of the middle of the place", "`place=(lon, lat)`"),
    "gsd": ("ground size", "metres of a pixel, from the grid that was read; see the notes", "`resolution_m=`"),
}
# Where a source's table is used under another name than its own.
ROUTES: Final = {"planetary_computer": "planetary_computer", "earth_search": "stac (Earth Search)"}
COARSE_M: Final = 1000.0
EVERYTHING: Final = "files and synthetic have every sensor"


@dataclass(frozen=True)
class ModelPage:
    """A model's card to be read by a person.

    Attributes
    ----------
    card : Card
        The facts.
    """

    card: Card

    def to_dict(self) -> dict[str, Any]:
        """Write the card as JSON."""
        return self.card.describe()

    @property
    def title(self) -> str:
        """Title and id."""
        return f"{self.card.title} (`{self.card.id}`)"

    def sections(self) -> tuple[Section, ...]:
        """Every fact, in the order of reading; parts with nothing in them are left out."""
        card = self.card
        found = (
            Section("What it is", _pairs(_what(card))),
            Section("Variants", _columns(_variant_rows(card)), _names(_variant_rows(card))),
            Section("Checkpoints", _columns(_weights_rows(card)), _names(_weights_rows(card))),
            *(part for inputs in card.inputs for part in _input_sections(card, inputs)),
            Section("Published", _pairs(_product_rows(card))),
            Section("Side inputs", _side_rows(card), ("what", "from a request", "with arrays of your own")),
            Section("Outputs", _output_rows(card), ("output", "numbers", "what it is")),
            Section("Options", _option_rows(card), ("option", "default", "choices", "meaning")),
            Section("Parity", ((card.parity,),) if card.parity else ()),
            Section("Where rs-embed 0.2.1 differs", tuple((text,) for text in card.deviations)),
            Section("Notes", tuple((text,) for text in card.notes)),
            Section("Example", code=example(card)),
        )
        return tuple(section for section in found if section.rows or section.code)

    def to_markdown(self) -> str:
        """Write the page as Markdown."""
        return page.as_markdown(self.title, self.sections())

    def __str__(self) -> str:
        return page.as_text(self.title, self.sections())

    def _repr_html_(self) -> str:
        return page.as_html(self.title, self.sections())


def _pairs(found: Iterator[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, text) for name, text in found if text)


def _names(rows: list[dict[str, str]]) -> tuple[str, ...]:
    """Columns in which some row says something."""
    return tuple(name for name in (rows[0] if rows else {}) if any(row[name] for row in rows))


def _columns(rows: list[dict[str, str]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(row[name] for name in _names(rows)) for row in rows)


def _what(card: Card) -> Iterator[tuple[str, str]]:
    yield "asked for as", ", ".join(f"`{name}`" for name in (card.id, *card.aliases))
    plus = ", with `+` between" if card.together else ""
    modalities = ", ".join(words.modality_texts(card))
    yield "`modality=`", f"{modalities}{plus}; the first if none is named" if modalities else ""
    yield "kind", "its vectors are read, not computed" if card.kind == "product" else ""
    yield "paper", card.paper
    yield "citation", card.citation
    yield "written from", card.source
    yield "licence of the code", card.code_licence
    terms = dict.fromkeys(variant.weights for variant in card.variants if variant.weights)
    licences = ", ".join(dict.fromkeys(weights.licence for weights in terms))
    yield "licence of the weights", licences or ("there are none" if card.product is None else "")
    if any(weights.restricted for weights in terms):
        yield "to accept it", "`accept_licence=True` in ModelSpec or load_model, `--accept-licence` on the command line"
    yield "arithmetic", "always float32" if card.float32 else ""


def _product_rows(card: Card) -> Iterator[tuple[str, str]]:
    product = card.product
    if product is None:
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
    yield "time", f"one layer a year, {first} to {last}" if first else "one layer of all times"


def _variant_rows(card: Card) -> list[dict[str, str]]:
    default = card.variant(None)
    return [
        {
            "variant": f"`{variant.name}`" + (" (default)" if variant is default and len(card.variants) > 1 else ""),
            "also": ", ".join(f"`{name}`" for name in variant.aliases if name != variant.name),
            "million parameters": words.number(variant.params) if variant.params else "",
            "numbers a vector": str(words.lengths(card, card.poolings[0])[variant.name]),
            "numbers a token": str(words.lengths(card, "grid")[variant.name]) if card.product is None else "",
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
        "when looked at": weights.seen,
        "or": elsewhere,
        "licence": weights.licence,
    }


def _input_sections(card: Card, inputs: Inputs) -> Iterator[Section]:
    yield Section(f"Input `{inputs.modality}`", _pairs(_input_rows(card, inputs)))
    numbers = words.per_band_numbers(inputs)
    known = tuple(sensor(name) for name in inputs.sensors[:1])
    rows = tuple(
        (f"`{band}`", *(one.band(band).name for one in known), *(words.number(v[i]) for v in numbers.values()))
        for i, band in enumerate(inputs.bands)
    )
    header = ("band", *(one.id for one in known), *numbers)
    yield Section(f"Bands of `{inputs.modality}`, in order", rows, header)


def _input_rows(card: Card, inputs: Inputs) -> Iterator[tuple[str, str]]:
    yield "unit", words.unit_text(inputs.unit)
    yield "bands", "any of them, by the option `bands`" if card.any_bands else ""
    yield "read from", _sensors_text(inputs)
    yield "at", f"{inputs.resolution_m:g} m"
    yield "image", words.size_text(inputs, card.patch_px)
    square = f"where no square of real imagery was read: {words.rectangle_text(inputs)}"
    yield "not square", "" if inputs.native else square
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
    """Name the sensors, the preferred first, each with where it can be had."""
    if not inputs.sensors:
        return "arrays of your own; no provider serves it"
    had: dict[str, dict[str, str]] = {source.sensor: {} for name in ROUTES for source in sources_of(name)}
    for name, route in ROUTES.items():
        for source in sources_of(name):
            had[source.sensor].setdefault(route, source.collection)
    each = (
        f"`{name}` ({', '.join(f'{route}: {found}' for route, found in had[name].items())})"
        if name in had
        else f"`{name}`"
        for name in inputs.sensors
    )
    return f"{', else '.join(each)}; {EVERYTHING}"


def _side_rows(card: Card) -> tuple[tuple[str, str, str], ...]:
    rows = [SIDE[name] for name in card.extras if name in SIDE]
    if any(dict(inputs.per_band).get("wavelength_um") for inputs in card.inputs):
        rows.append(("wavelengths", "those of the bands, as listed", "the same"))
    return tuple(rows)


def _output_rows(card: Card) -> tuple[tuple[str, str, str], ...]:
    said = dict(card.outputs)
    known = {name: f"pooled `{name}`" for name in card.poolings}
    if len(known) > 1:
        known[card.poolings[0]] += " (default)"
    rows = [(text, words.grouped(words.lengths(card, name)), said.get(name, "")) for name, text in known.items()]
    return (*rows, ("grid", words.grouped(words.lengths(card, "grid")), said.get("grid", "a token a cell")))


def _option_rows(card: Card) -> tuple[tuple[str, str, str, str], ...]:
    return tuple(
        (f"`{option.name}`", _default_text(card, option), words.choices_text(option), option.doc)
        for option in card.options
    )


def _default_text(card: Card, option: Option) -> str:
    """Write an option's default; a product's address is told once on a page."""
    value = option.default
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return "see above" if card.product is not None and value == card.product.base_url else f"`{value!r}`"
