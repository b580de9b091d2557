"""The receipt: what a store was made with, so that its numbers can be made again."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from rs_embed_dask.errors import StoreError, redact

__all__ = ["build_receipt", "package_versions", "plain", "request_digest"]

_PACKAGES: Final = (
    "rs-embed-dask",
    "torch",
    "numpy",
    "dask",
    "distributed",
    "xarray",
    "zarr",
    "rasterio",
    "pyproj",
    "odc-geo",
    "stackstac",
    "pystac-client",
    "planetary-computer",
    "safetensors",
)


def plain(data: Any) -> Any:
    """Bring data to what JSON gives back, with the secret parts of URLs cut.

    Raises
    ------
    StoreError
        If it holds something that JSON cannot say.
    """
    try:
        return _redacted(json.loads(json.dumps(data, allow_nan=False)))
    except (TypeError, ValueError) as error:
        reason = f"it cannot be written as JSON ({error})"
        fix = "use texts, finite numbers, lists and dicts"
        raise StoreError("request or receipt", value=data, reason=reason, fix=fix) from error


def _redacted(data: Any) -> Any:
    if isinstance(data, str):
        return redact(data)
    if isinstance(data, list):
        return [_redacted(one) for one in data]
    if isinstance(data, Mapping):
        return {key: _redacted(value) for key, value in data.items()}
    return data


def package_versions() -> dict[str, str]:
    """List the versions of the packages that a result depends on, without importing them."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def request_digest(request: Mapping[str, Any]) -> str:
    """Digest a request: the same for the same request, whatever the order of its keys."""
    text = json.dumps(plain(request), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def build_receipt(
    request: Mapping[str, Any],
    *,
    cards: Mapping[str, Any] | None = None,
    weights: Mapping[str, Any] | None = None,
    provider: Mapping[str, Any] | None = None,
    versions: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Put together what a run is made with.

    Parameters
    ----------
    request : mapping
        What was asked for.
    cards : mapping, optional
        By model label, each card's description.
    weights : mapping, optional
        By model label: file or repository and revision, ``sha256``, ``licence``, ``random``.
    provider : mapping, optional
        The provider's description, which rebuilds it.
    versions : mapping, optional
        Package versions; those of this process where they are left out.

    Returns
    -------
    dict
        JSON-ready, with the secret parts of URLs cut.
    """
    parts = {
        "request_sha256": request_digest(request),
        "cards": dict(cards or {}),
        "weights": dict(weights or {}),
        "provider": dict(provider or {}),
        "versions": dict(package_versions() if versions is None else versions),
        "platform": f"{platform.system()} {platform.machine()}",
    }
    found: dict[str, Any] = plain(parts)
    return found
