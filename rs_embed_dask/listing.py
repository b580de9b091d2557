"""What there is to choose from: rows for a table, and a page for each model. No torch here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask.models import all_cards, card as card_of
from rs_embed_dask.pages.model import ModelPage
from rs_embed_dask.pages.wording import lengths, modality_texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from rs_embed_dask.cards.card import Card

__all__ = ["ModelPage", "describe_model", "fetch_weights", "largest_error", "list_models", "short_rows"]

NO_WEIGHTS: Final = "none needed"
EXACT: Final = "exact"
FIGURE: Final = re.compile(r"\b\d(?:\.\d+)?e-\d+")


def list_models() -> list[dict[str, Any]]:
    """List the models that can be asked for; torch is not loaded.

    Returns
    -------
    list of dict
        ``id``, ``title``, ``variants``, ``inputs`` (sets of modalities), ``params_m`` (millions of parameters, by
        variant), ``dim`` (numbers a vector, by variant), ``licence`` of the weights ("none needed" where there are
        none) or of a product's vectors, ``code_licence``, ``parity``.
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
        Prints as text, HTML and Markdown; ``.to_dict()`` is the whole card as JSON.

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


def _row(card: Card) -> dict[str, Any]:
    none = NO_WEIGHTS if card.product is None else card.product.licence
    terms = (none if variant.weights is None else variant.weights.licence for variant in card.variants)
    return {
        "id": card.id,
        "title": card.title,
        "variants": [variant.name for variant in card.variants],
        "inputs": list(modality_texts(card)),
        "params_m": {variant.name: variant.params for variant in card.variants},
        "dim": lengths(card, card.poolings[0]),
        "licence": ", ".join(dict.fromkeys(terms)),
        "code_licence": card.code_licence,
        "parity": card.parity,
    }


def short_rows(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Write the rows of `list_models` for a table of 100 columns.

    Parameters
    ----------
    rows : iterable of dict
        Those of `list_models`.

    Returns
    -------
    list of dict
        ``model``, ``variants``, ``million`` (parameters) and ``numbers`` (a vector's), a line a variant, ``inputs``,
        ``licence``, and ``parity``: the largest error against the authors' code.
    """
    return [_short(row) for row in rows]


def _short(row: Mapping[str, Any]) -> dict[str, str]:
    sizes, lengths_of = row["params_m"], row["dim"]
    return {
        "model": row["id"],
        "variants": "\n".join(row["variants"]),
        "million": "\n".join(f"{sizes[name]:g}" if sizes[name] else "-" for name in row["variants"]),
        "numbers": "\n".join(str(lengths_of[name]) for name in row["variants"]),
        "inputs": ", ".join(row["inputs"]),
        "licence": row["licence"],
        "parity": largest_error(row["parity"]) or "-",
    }


def largest_error(parity: str) -> str:
    """Return the largest figure of a card's parity text, "exact" where it says so, or nothing where it has none."""
    return max(FIGURE.findall(parity), key=float, default=EXACT if parity.startswith(EXACT) else "")
