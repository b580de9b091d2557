"""What there is to choose from: rows for a table, and a page for each model."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rs_embed_dask.models import all_cards, card as card_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rs_embed_dask.models.card import Card
    from rs_embed_dask.preprocess.inputs import Inputs

__all__ = ["ModelPage", "describe_model", "fetch_weights", "list_models"]


def list_models() -> list[dict[str, Any]]:
    """List the models that can be asked for; torch is not loaded.

    Returns
    -------
    list of dict
        ``id``, ``variants``, ``inputs`` (sets of modalities), ``dim`` (by variant), ``params_m`` (millions, by
        variant), ``weights`` ("none needed" or the terms), ``parity``, ``title``.
    """
    return [_row(card) for card in all_cards()]


def describe_model(name: str) -> ModelPage:
    """Say all that is known of a model.

    Parameters
    ----------
    name : str
        Its id or an alias.

    Returns
    -------
    ModelPage
        Prints as text and HTML; ``.to_dict()`` is the whole card as JSON.

    Raises
    ------
    UnknownNameError
        With the closest names, where there is no such model.
    """
    return ModelPage(card_of(name))


def fetch_weights(name: str, *, variant: str | None = None, accept_licence: bool = False) -> Path:
    """Fetch a model's weights into the hub cache and check them, so that workers need no network.

    Parameters
    ----------
    name : str
        The model.
    variant : str, optional
        Its size; the default one where it is left out.
    accept_licence : bool, default False
        Agree to restricted terms.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    LicenceError, WeightsError
        Where the terms were not accepted, or the file could not be had.
    """
    from rs_embed_dask.weights.files import fetch

    found = card_of(name)
    return fetch(found, found.variant(variant), accept_licence=accept_licence)


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

    def __str__(self) -> str:
        width = max(len(name) for name, _ in self._rows())
        lines = [f"{name:<{width}}  {value}".rstrip() for name, value in self._rows()]
        return "\n".join([f"{self.card.id}: {self.card.title}", *lines])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
            for name, value in self._rows()
        )
        title = html.escape(f"{self.card.id}: {self.card.title}")
        return f"<table><caption style='text-align:left'><b>{title}</b></caption>{rows}</table>"

    def _rows(self) -> list[tuple[str, str]]:
        return [(name, value) for name, value in self._all_rows() if value]

    def _all_rows(self) -> Iterator[tuple[str, str]]:
        card = self.card
        yield "aliases", ", ".join(card.aliases)
        yield "paper", card.paper
        yield "source", card.source
        yield "code licence", card.code_licence
        for variant in card.variants:
            yield f"variant {variant.name}", _variant_text(card, variant.name)
        yield "modalities", ", ".join("+".join(names) for names in _modality_sets(card))
        for inputs in card.inputs:
            yield f"input {inputs.modality}", _input_text(inputs)
        yield "outputs", f"pooled ({', '.join(card.poolings)}), grid of {card.patch_px} px tokens"
        for option in card.options:
            yield f"option {option.name}", f"{option.default!r}: {option.doc}"
        yield "parity", card.parity
        for number, note in enumerate(card.notes):
            yield "notes" if number == 0 else "\u00a0", note
        for number, deviation in enumerate(card.deviations):
            yield "rs-embed differs" if number == 0 else "\u00a0", deviation
        yield "citation", card.citation


def _row(card: Card) -> dict[str, Any]:
    default = card.variant(None)
    return {
        "id": card.id,
        "variants": [variant.name for variant in card.variants],
        "inputs": ["+".join(names) for names in _modality_sets(card)],
        "dim": {variant.name: variant.dim or "by options" for variant in card.variants},
        "params_m": {variant.name: variant.params for variant in card.variants},
        "weights": "none needed" if default.weights is None else default.weights.licence,
        "parity": card.parity,
        "title": card.title,
    }


def _modality_sets(card: Card) -> tuple[tuple[str, ...], ...]:
    return card.modalities or tuple((inputs.modality,) for inputs in card.inputs)


def _variant_text(card: Card, name: str) -> str:
    variant = card.variant(name)
    parts = [f"{variant.dim} numbers" if variant.dim else "as many numbers as its options say"]
    if variant.params:
        parts.append(f"{variant.params:g} M parameters")
    if variant.weights is not None:
        where = f"{variant.weights.repo}/{variant.weights.file}" if variant.weights.repo else variant.weights.url
        terms = " (accept_licence=True is needed)" if variant.weights.restricted else ""
        parts.append(f"{where}, {variant.weights.licence}{terms}")
    return "; ".join(parts)


def _input_text(inputs: Inputs) -> str:
    size = f"{inputs.size_px} px" if inputs.size_px else "any size"
    source = " or ".join(inputs.sensors) or "arrays of your own"
    return f"{source}, {inputs.unit}, {inputs.resolution_m:g} m, {size}: {', '.join(inputs.bands)}"
