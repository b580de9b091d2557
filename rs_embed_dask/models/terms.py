"""What is known of weights before they are opened: their terms, and whether there is a file at all. No torch here."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from rs_embed_dask.errors import LicenceError, WeightsError

if TYPE_CHECKING:
    from rs_embed_dask.cards.card import Card, Variant, Weights
    from rs_embed_dask.specs import ModelSpec

__all__ = ["check_licence", "check_weights", "missing_file", "no_such_file"]

_log = logging.getLogger(__name__)


def check_weights(card: Card, spec: ModelSpec, *, is_here: bool) -> None:
    """Raise LicenceError or WeightsError where a model cannot be loaded; a path is looked for on this machine only."""
    variant = card.variant_for(spec)
    weights = variant.weights
    if weights is None or spec.weights == "random":
        return
    check_licence(card, weights, accept_licence=spec.accept_licence)
    if spec.weights == "auto" and not weights.repo:
        raise missing_file(card, variant, weights)
    if spec.weights != "auto" and is_here and not Path(spec.weights).is_file():
        raise no_such_file(card, Path(spec.weights))


def check_licence(card: Card, weights: Weights, *, accept_licence: bool) -> None:
    """Log the terms. Raises LicenceError where they are restricted and were not accepted."""
    if not weights.restricted or accept_licence:
        _log.info("%s: weights under %s", card.id, weights.licence)
        return
    reason, fix = "it restricts what the vectors may be used for", "read it, then pass accept_licence=True"
    raise LicenceError(f"{card.id}: licence of the weights", value=weights.licence, reason=reason, fix=fix)


def no_such_file(card: Card, path: Path) -> WeightsError:
    """Return the error of a path without a file."""
    fix = "give a file, or weights='auto'"
    return WeightsError(f"{card.id}: weights", value=str(path), reason="there is no such file", fix=fix)


def missing_file(card: Card, variant: Variant, weights: Weights) -> WeightsError:
    """Return the error of weights that are neither on this machine nor given."""
    command = f"rs-embed-dask weights fetch {card.id} --variant {variant.name}"
    where = f"{weights.repo}/{weights.file}" if weights.repo else weights.file
    fix = f"run `{command}`" if weights.repo else f"get it from {weights.url}"
    reason = "the file is not on this machine"
    return WeightsError(f"{card.id}: weights", value=where, reason=reason, fix=f"{fix}, or pass weights=PATH")
