"""Providers by name: ours, a user's, and those of installed packages."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, Final

from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.providers.protocol import Provider

__all__ = ["AUTO", "list_providers", "open_provider", "register_provider"]

Factory = Callable[..., Provider]

AUTO: Final = "planetary_computer"
"""What ``auto`` means: it serves every sensor of the tables and asks nobody for an account."""

_GROUP: Final = "rs_embed_dask.providers"
_OURS: Final = {
    "planetary_computer": "rs_embed_dask.providers.planetary_computer:PlanetaryComputer",
    "stac": "rs_embed_dask.providers.stac:StacProvider",
    "earth_engine": "rs_embed_dask.providers.earth_engine:EarthEngine",
    "files": "rs_embed_dask.providers.files:Files",
    "synthetic": "rs_embed_dask.providers.synthetic:Synthetic",
}
_ALIASES: Final = {"auto": AUTO, "pc": "planetary_computer", "mpc": "planetary_computer", "gee": "earth_engine"}
_REGISTERED: Final[dict[str, Factory]] = {}


def register_provider(name: str, factory: Factory) -> None:
    """Make a provider known under a name, in this process.

    Parameters
    ----------
    name : str
        The name; a registered one is replaced, ours and the aliases cannot be.
    factory : callable
        Takes the options of `open_provider` and returns the provider. Workers get the provider itself, so its class
        must be importable there.

    Raises
    ------
    SpecError
        If the name is taken or empty, or the factory cannot be called.
    """
    if not str(name).strip():
        raise SpecError("provider name", value=name, reason="it is no name", fix="give a word such as 'my_archive'")
    if name in {*_OURS, *_ALIASES}:
        raise SpecError("provider name", value=name, reason="this package uses it itself", fix="choose another name")
    if not callable(factory):
        raise SpecError("provider factory", value=factory, reason="it cannot be called", fix="give a class or function")
    _REGISTERED[name] = factory


def list_providers() -> tuple[str, ...]:
    """List the names that `open_provider` understands, aliases left out.

    Returns
    -------
    tuple of str
        Sorted.
    """
    return tuple(sorted({*_OURS, *_REGISTERED, *(point.name for point in entry_points(group=_GROUP))}))


def open_provider(which: str | Provider | Mapping[str, Any] = "auto", **options: Any) -> Provider:
    """Return a provider from its name, from what `Provider.describe` gave, or as it is.

    Parameters
    ----------
    which : str or Provider or mapping
        A name (``auto`` is Planetary Computer), a provider, or a description.
    **options
        For the provider's factory.

    Returns
    -------
    Provider
        Ready to search and read; nothing has been asked of anyone.

    Raises
    ------
    UnknownNameError
        If nobody knows the name.
    SpecError
        If it is none of these, or the options do not fit.
    """
    if isinstance(which, str):
        return _make(which, options)
    if isinstance(which, Mapping):
        return _rebuild(which, options)
    if isinstance(which, type) or not isinstance(which, Provider):
        fix = f"give one of {', '.join(list_providers())}, or an object with the methods of Provider"
        raise SpecError("provider", value=which, reason=f"{type(which).__name__} is no provider", fix=fix)
    if options:
        fix = "give the options to the provider itself"
        raise SpecError("provider options", value=sorted(options), reason="the provider is already made", fix=fix)
    return which


def _rebuild(description: Mapping[str, Any], options: Mapping[str, Any]) -> Provider:
    parts = dict(description)
    name = parts.pop("name", None)
    if not isinstance(name, str):
        raise SpecError("provider", value=description, reason="the description has no name", fix="add 'name'")
    if parts.pop("rebuild", True) is False:
        fix = "open it again with the same arrays and pass it as provider="
        raise SpecError("provider", value=name, reason="it reads arrays that a description cannot hold", fix=fix)
    return _make(name, {**parts, **options})


def _make(name: str, options: Mapping[str, Any]) -> Provider:
    plain = name.strip().lower().replace("-", "_")
    factory = _factory(_ALIASES.get(plain, plain))
    if factory is None:
        raise UnknownNameError.among("provider", name, [*list_providers(), *_ALIASES])
    try:
        return factory(**options)
    except TypeError as error:
        reason = f"its options do not fit: {error}"
        raise SpecError(
            f"provider {name}", value=sorted(options), reason=reason, fix="see the provider's docstring"
        ) from error


def _factory(name: str) -> Factory | None:
    if name in _REGISTERED:
        return _REGISTERED[name]
    if name in _OURS:
        module, _, attribute = _OURS[name].partition(":")
        made: Factory = getattr(importlib.import_module(module), attribute)
        return made
    for point in entry_points(group=_GROUP):
        if point.name == name:
            found: Factory = point.load()
            return found
    return None
