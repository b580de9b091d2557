"""The list of models: one row each, for a table. No torch here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask.imagery.sensors import is_public
from rs_embed_dask.models import all_cards
from rs_embed_dask.pages.wording import lengths, modality_texts
from rs_embed_dask.show.tables import table_html, table_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rs_embed_dask.cards.card import Card

__all__ = ["inputs_text", "largest_error", "list_models", "short_rows"]

NO_WEIGHTS: Final = "none needed"
EXACT: Final = "exact"
FIGURE: Final = re.compile(r"\b\d(?:\.\d+)?e-\d+")


class ModelList(list[dict[str, Any]]):
    """The rows of `list_models`, shown as a table."""

    def __str__(self) -> str:
        return table_text("Models", *self._cells())

    def _repr_html_(self) -> str:
        return table_html("Models", *self._cells())

    def _cells(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        rows = short_rows(self)
        return tuple(rows[0]) if rows else (), [tuple(row.values()) for row in rows]

    __repr__ = __str__


def list_models() -> ModelList:
    """List the available models; torch is not loaded.

    Returns
    -------
    list of dict
        Shown as a table. One row per model: ``id``, ``title``, ``variants``, ``inputs`` (sets of modalities),
        ``arrays_only`` (the inputs that no public collection serves), ``params_m`` (millions of parameters, by
        variant), ``dim`` (embedding dimension, by variant), ``licence`` of the weights ("none needed" where there are
        none) or of a product's vectors, ``code_licence``, ``parity``.

    Examples
    --------
    >>> [row["dim"]["nano"] for row in list_models() if row["id"] == "galileo"]
    [128]
    """
    return ModelList(_row(card) for card in all_cards())


def _row(card: Card) -> dict[str, Any]:
    none = (card.product and card.product.licence) or NO_WEIGHTS
    terms = (none if variant.weights is None else variant.weights.licence for variant in card.variants)
    return {
        "id": card.id,
        "title": card.title,
        "variants": [variant.name for variant in card.variants],
        "inputs": list(modality_texts(card)),
        "arrays_only": [
            one.modality for one in card.inputs if not any(map(is_public, one.sensors)) and card.product is None
        ],
        "params_m": {variant.name: variant.params for variant in card.variants},
        "dim": lengths(card, card.poolings[0]),
        "licence": ", ".join(dict.fromkeys(terms)),
        "code_licence": card.code_licence,
        "parity": card.parity,
    }


def inputs_text(row: Mapping[str, Any]) -> str:
    """Name the inputs of a row of `list_models`, and which of them no public collection serves."""
    alone = row["arrays_only"]
    return ", ".join(f"{name} (arrays)" if name in alone else name for name in row["inputs"])


def short_rows(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Format the rows of `list_models` for a table of 100 columns."""
    return [_short(row) for row in rows]


def _short(row: Mapping[str, Any]) -> dict[str, str]:
    sizes, lengths_of = row["params_m"], row["dim"]
    return {
        "model": row["id"],
        "variants": "\n".join(row["variants"]),
        "million": "\n".join(f"{sizes[name]:g}" if sizes[name] else "-" for name in row["variants"]),
        "dim": "\n".join(str(lengths_of[name]) for name in row["variants"]),
        "inputs": inputs_text(row),
        "licence": row["licence"],
        "parity": largest_error(row["parity"]) or "-",
    }


def largest_error(parity: str) -> str:
    """Return the largest figure in a card's parity text, "exact" where it is, or an empty text."""
    return max(FIGURE.findall(parity), key=float, default=EXACT if parity.startswith(EXACT) else "")
