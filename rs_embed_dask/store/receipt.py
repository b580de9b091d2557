"""What a store was made with, and whether a request may continue it."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask.errors import RsEmbedError, StoreError, StoreMismatchError, redact, shown
from rs_embed_dask.specs import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "Difference",
    "build_receipt",
    "check_request",
    "differences",
    "package_version",
    "plain",
    "request_digest",
    "settings_digest",
    "settled",
    "strict_json",
]

_DEEPEST: Final = 100
_LONGEST_INTEGER: Final = 2**64


def package_version(name: str = "rs-embed-dask") -> str:
    """Return the version of an installed package, or nothing."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


_PACKAGES: Final = (
    "rs-embed-dask",
    "torch",
    "numpy",
    "dask",
    "distributed",
    "xarray",
    "zarr",
    "rasterio",
    "imagecodecs",
    "pyproj",
    "odc-geo",
    "stackstac",
    "pystac-client",
    "planetary-computer",
    "safetensors",
)


def strict_json(content: str | bytes) -> Any:
    """Read JSON that anybody may have written. Raises ValueError, whatever is wrong, and for what is extreme.

    That is: NaN and infinities, which are not JSON, integers beyond 64 bits, and nesting that would exhaust the stack
    of whoever walks through it later.
    """
    try:
        data = json.loads(content, parse_constant=_finite, parse_float=_finite, parse_int=_short)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    level, depth = [data], 0
    while level:
        level = [child for one in level for child in _children(one)]
        depth += 1
        if depth > _DEEPEST:
            raise ValueError(_TOO_DEEP)
    return data


_TOO_DEEP: Final = f"it is nested more than {_DEEPEST} levels deep"


def _children(value: object) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        reason = f"{text[:20]} is not a finite number"
        raise ValueError(reason)
    return number


def _short(text: str) -> int:
    number = int(text)  # which refuses thousands of digits
    if abs(number) >= _LONGEST_INTEGER:
        reason = f"the integer {text[:20]}... is longer than 64 bits"
        raise ValueError(reason)
    return number


def settled(entries: Mapping[str, Any], receipt: Mapping[str, Any]) -> dict[str, Any]:
    """Return entries of a receipt; one that is a function is made of what the receipt has, or of an empty one."""
    return {name: one(receipt.get(name, {})) if callable(one) else one for name, one in entries.items()}


def plain(data: Any) -> Any:
    """Convert data to what reading its JSON returns, with the secret parts of URLs removed."""
    try:
        return _redacted(strict_json(json.dumps(data, allow_nan=False)))
    except (TypeError, ValueError, RecursionError) as error:
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
) -> dict[str, Any]:
    """Collect what a run is made with."""
    # From the packages' metadata: importing torch or rasterio for their versions would take seconds.
    installed = ((name, package_version(name)) for name in _PACKAGES)
    parts = {
        "request_sha256": request_digest(request),
        "cards": dict(cards or {}),
        "weights": dict(weights or {}),
        "provider": dict(provider or {}),
        "versions": {"python": platform.python_version()} | {name: one for name, one in installed if one},
        "platform": f"{platform.system()} {platform.machine()}",
    }
    receipt: dict[str, Any] = plain(parts)
    return receipt


_FREE: Final = frozenset({"items", "n_items", "spatials", "temporal", "chunk_items"})
"""Parts that may differ: items are compared row by row, and additional ones are a top-up."""


@dataclass(frozen=True)
class Difference:
    """One point at which two requests differ."""

    where: str
    old: object
    new: object

    def __str__(self) -> str:
        return f"{self.where} was {_value_text(self.old)} and is now {_value_text(self.new)}"


def _value_text(value: object) -> str:
    return "not set" if value is None else shown(value)


def settings_digest(request: Mapping[str, Any]) -> str:
    """Digest what never changes in a store's request, whatever items and models are added."""
    return request_digest({key: value for key, value in request.items() if key not in _FREE | {"models"}})


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    """List the points at which a request differs from the one that made a store."""
    points: list[Difference] = []
    first, second = plain(dict(old)), plain(dict(new))
    for key in sorted(set(first) | set(second)):
        if key == "models":
            before, after = _by_label(first.get(key)), _by_label(second.get(key))
            for label in before.keys() & after.keys():
                points += _compared(f"models[{label}]", before[label], after[label])
        elif key not in _FREE:
            points += _compared(key, _explicit(key, first.get(key)), _explicit(key, second.get(key)))
    return points


def _explicit(key: str, part: Any) -> Any:
    """Name what requests of earlier versions left out: polygons were the boxes around them; drop what has no effect."""
    if key == "prep" and isinstance(part, dict) and part.get("mode") == "resize":
        return {"mode": "resize"}
    return {"within": "box", "positions": "kept"} | part if key == "output" and isinstance(part, dict) else part


def _by_label(models: Any) -> dict[str, Any]:
    """Name each model of a request by its label in the store."""
    if isinstance(models, dict):
        return dict(models)
    return {_label(model) or str(number): model for number, model in enumerate(models or [])}


def _label(model: Any) -> str:
    if isinstance(model, dict) and "label" in model:
        return str(model["label"])
    try:
        return ModelSpec.of(model).label
    except RsEmbedError:
        return ""


def _compared(where: str, old: Any, new: Any) -> Iterator[Difference]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(set(old) | set(new)):
            yield from _compared(f"{where}.{key}", old.get(key), new.get(key))
    elif old != new:
        yield Difference(where, old, new)


def check_request(stored: Mapping[str, Any], request: Mapping[str, Any], *, place: str) -> None:
    """Refuse to continue a store that another request made."""
    points = differences(stored, request)
    if not points:
        return
    listed = "; ".join(map(str, points))
    back = ", ".join(f"{one.where}={_value_text(one.old)}" for one in points)
    raise StoreMismatchError(
        "store request",
        value=place,
        reason=f"the store was made by another request: {listed}",
        fix=f"write to another out=, or repeat the request that made the store ({back})",
    )
