"""Precomputed embeddings: models whose `embed` is a read. No torch, no Dask, no imagery provider."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from rs_embed_dask import cards, models
from rs_embed_dask.products.field import ProductField, Reader, ReadsManyPlaces, ServesProducts

if TYPE_CHECKING:
    from rs_embed_dask.models import Card
    from rs_embed_dask.specs import ModelSpec

__all__ = ["ProductField", "Reader", "ReadsManyPlaces", "ServesProducts", "reader_for"]

_OURS = ("copernicus", "gse", "location", "tessera")


def reader_for(card: Card, spec: ModelSpec, provider: object = None) -> Reader:
    """Return the reader of a product with a request's options. Nothing is opened or requested."""
    own = card.id in _OURS and card == import_module(f"{cards.__name__}.{card.id}").CARD
    make = import_module(f"{__name__}.{card.id}").make if own else models.factory(card.id)
    reader: Reader = make(card, spec, provider)
    return reader
