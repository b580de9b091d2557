"""Models: cards, and encoders whose attribute names are the published keys. Listing them does not import torch."""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from typing import Any

from rs_embed_dask import cards
from rs_embed_dask.cards.card import Card, Inputs, ModelInput, Option, Product, Variant, Weights
from rs_embed_dask.errors import UnknownNameError

__all__ = ["Card", "Inputs", "ModelInput", "Option", "Product", "Variant", "Weights"]
__all__ += ["all_cards", "card", "factory", "register_model"]

ENTRY_POINTS = "rs_embed_dask.models"

_registered: dict[str, tuple[Card, Callable[..., Any]]] = {}


def card(name: str) -> Card:
    """Return a model's card by id or alias.

    Raises
    ------
    UnknownNameError
        With the closest names, if no model has that name.
    """
    ids = _names()
    plain = name.strip().lower()
    if plain not in ids:
        raise UnknownNameError.among("model", name, ids)
    return _card(ids[plain])


def all_cards() -> tuple[Card, ...]:
    """Return every card, by id."""
    return tuple(_card(name) for name in sorted(set(_names().values())))


def factory(name: str) -> Callable[..., Any]:
    """Return the factory of a model's encoder: an ``nn.Module`` subclass or a function of its configuration."""
    model_id = card(name).id
    if model_id in _registered:
        return _registered[model_id][1]
    if model_id in _plugins():
        return _plugins()[model_id][1]
    build: Callable[..., Any] = import_module(f"{__name__}.{model_id}").build
    return build


def register_model(card: Card, factory: Callable[..., Any]) -> None:
    """Add a model of your own.

    Parameters
    ----------
    card : Card
        Its declaration; its id and aliases replace those of existing models.
    factory : callable
        Called with the variant's `config` as keywords; returns an ``nn.Module`` whose ``forward`` takes a `Batch` and
        returns `Tokens`.

    Examples
    --------
    >>> register_model(MY_CARD, MyEncoder)  # doctest: +SKIP
    """
    _registered[card.id] = (card, factory)


def _names() -> dict[str, str]:
    """Map every id and alias, in lower case, to an id; registered models take precedence."""
    others = (*_plugins().values(), *_registered.values())
    declared = (*map(_own_card, _ours()), *(card for card, _ in others))
    return {alias.lower(): card.id for card in declared for alias in (*card.aliases, card.id)}


def _card(model: str) -> Card:
    if model in _registered:
        return _registered[model][0]
    return _plugins()[model][0] if model in _plugins() else _own_card(model)


@cache
def _ours() -> tuple[str, ...]:
    """Models of this package: each module of `cards`, except `card`, is named after its model."""
    return tuple(module.name for module in iter_modules(cards.__path__) if module.name != "card")


@cache
def _own_card(model: str) -> Card:
    own: Card = import_module(f"{cards.__name__}.{model}").CARD
    return own


@cache
def _plugins() -> dict[str, tuple[Card, Callable[..., Any]]]:
    """Models of other packages: each entry point is a module with `CARD` and `build`, or a pair (card, factory)."""
    loaded = (point.load() for point in entry_points(group=ENTRY_POINTS))
    pairs = (plugin if isinstance(plugin, tuple) else (plugin.CARD, plugin.build) for plugin in loaded)
    return {card.id: (card, build) for card, build in pairs}
