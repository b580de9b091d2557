"""What a stored request may name when a run is resumed.

A store may come from anyone. Its request therefore never names code or key files to use, and unless this user made the
store on this machine (`rs_embed_dask.store.seal`), it opens no file, writes no folder and contacts no host that is not
a default of this package or allowed by the caller.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from rs_embed_dask.engine.request import Request
from rs_embed_dask.errors import SpecError, StoreError
from rs_embed_dask.models import card
from rs_embed_dask.specs import ModelSpec
from rs_embed_dask.store.seal import is_own

if TYPE_CHECKING:
    from rs_embed_dask.providers import Provider
    from rs_embed_dask.store import MapView, StoreView

__all__ = ["stored_request", "trusted_hosts"]

_OURS: Final = frozenset({"earth_engine", "earth_search", "files", "planetary_computer", "stac", "synthetic"})
_CREDENTIALS: Final = frozenset({"application_default", "environment", "service_account", "user"})
_KNOWN: Final = frozenset(
    {
        "https://earth-search.aws.element84.com",
        "https://earthengine-highvolume.googleapis.com",
        "https://earthengine.googleapis.com",
        "https://planetarycomputer.microsoft.com",
    }
)
_ADDRESS: Final = re.compile(r"^\s*([a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?")


def stored_request(
    store: StoreView | MapView, *, provider: Provider | None = None, trust_hosts: Sequence[str] = ()
) -> Request:
    """Return the request of a store, with `provider` in place of the stored one if it is given.

    Raises
    ------
    StoreError
        If it names what a stored request may not; the message lists all of it and says what to pass. Of a map that was
        made of another map.
    """
    request, trusted = store.request, trusted_hosts(trust_hosts)
    if "derived" in request:
        fix = "make the same call again with out= this store: it writes what is missing"
        raise StoreError("store", value=str(store.target), reason="it was made of another map", fix=fix)
    is_foreign = not is_own(request, store.receipt)
    names, hosts = [], []
    if provider is None:
        names += [*_of_provider(request["provider"], is_foreign=is_foreign)]
        hosts += [*_addresses(request["provider"])]
    for model in request["models"]:
        names += _of_model(model) if is_foreign else []
        hosts += _addresses(model.get("options"), besides=_default(model))
    unknown = sorted({each for each in map(_origin, hosts) if each not in _KNOWN and not _is_in(each, trusted)})
    refused = [*_refused_names(names), *(_refused_hosts(unknown) if is_foreign else ())]
    if refused:
        reason, fix = ("; ".join(parts) for parts in zip(*refused, strict=True))
        raise StoreError("stored request", value=str(store.target), reason=reason, fix=fix)
    return Request.from_dict(request, provider=provider)


def _refused_names(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield reason and fix for what only the caller may name."""
    if names:
        fix = (
            "pass provider=open_provider(...) with options of your own; where a model's options name a file or folder, "
            "repeat the call that made the store with out= this store"
        )
        yield f"its request names {'; '.join(names)}, and only the caller may name these", fix


def _refused_hosts(unknown: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield reason and fix for hosts that are neither known nor trusted."""
    if unknown:
        hosts = [urlsplit(each).netloc for each in unknown]
        reason = f"its request would contact {', '.join(unknown)}, and this user did not make it on this machine"
        fix = (
            "if you trust these hosts, with your credentials too where the provider sends any, pass "
            f"trust_hosts={hosts!r} (on the command line {' '.join(f'--trust-host {host}' for host in hosts)})"
        )
        yield f"{reason} as it is now", fix


def _of_provider(description: object, *, is_foreign: bool) -> Iterator[str]:
    """Say what a stored provider may not name: code and keys ever, plugins and files in somebody else's store."""
    known = description if isinstance(description, Mapping) else {"name": description}
    name, credentials, key_file = known.get("name"), known.get("credentials", "user"), known.get("key_file")
    if not isinstance(credentials, str) or credentials not in _CREDENTIALS:
        yield f"credentials={credentials!r}"
    if key_file is not None:
        yield f"key_file={key_file!r}"
    if is_foreign and name not in _OURS:
        yield f"the provider {name!r}, which is not one of this package"
    if is_foreign and name == "files" and known.get("source"):
        yield f"files such as {known['source']!r}"
    if known.get("fallback") is not None:
        yield from _of_provider(known["fallback"], is_foreign=is_foreign)


def _of_model(model: Mapping[str, Any]) -> list[str]:
    """Say which files and folders the options of a model in somebody else's store name."""
    options = {name: value for name, value in (model.get("options") or {}).items() if value not in ("", None)}
    paths = [name for name in ("cache", "base_url") if name in options and not _ADDRESS.match(str(options[name]))]
    return [f"{name}={options[name]!r} of {model.get('id')}" for name in paths]


def _default(model: Mapping[str, Any]) -> str:
    """Return the mirror that the card of a model names itself."""
    product = card(ModelSpec.from_dict(model).id).product
    return "" if product is None else product.base_url


def _addresses(data: object, besides: str = "") -> Iterator[str]:
    """Yield every address in a description, however deep."""
    if isinstance(data, str):
        if _ADDRESS.match(data) and data != besides:
            yield data.strip()
    elif isinstance(data, Mapping):
        for value in data.values():
            yield from _addresses(value, besides)
    elif isinstance(data, Iterable):
        for value in data:
            yield from _addresses(value, besides)


def _origin(address: str) -> str:
    """Return scheme, host and port of an address: a known host over another scheme or port is another one."""
    parts = urlsplit(address)
    return f"{parts.scheme.lower()}://{parts.netloc.rpartition('@')[2].lower()}"


def trusted_hosts(trust_hosts: object) -> frozenset[str]:
    """Return the hosts that a caller trusts, in lower case. Raises SpecError."""
    fix = "list host names, such as trust_hosts=['stac.example.org']"
    if isinstance(trust_hosts, str) or not isinstance(trust_hosts, Iterable):
        raise SpecError("trust_hosts", value=trust_hosts, reason="it is not a list of hosts", fix=fix)
    for host in trust_hosts:
        if not isinstance(host, str) or not _HOST.fullmatch(host):
            raise SpecError("trust_hosts", value=host, reason="it is not a host name", fix=fix)
    return frozenset(host.lower() for host in trust_hosts)


def _is_in(origin: str, trusted: frozenset[str]) -> bool:
    netloc = origin.partition("://")[2]
    return netloc in trusted or (urlsplit(origin).hostname or "") in trusted
