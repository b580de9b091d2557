"""Whether a store was made by the request that would go on with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask.errors import RsEmbedError, StoreMismatchError, shown
from rs_embed_dask.specs import ModelSpec
from rs_embed_dask.store.receipt import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rs_embed_dask.store.store import StoreView

__all__ = ["Difference", "check_request", "differences"]

_FREE: Final = frozenset({"items", "n_items", "spatials", "temporal", "chunk_items"})
"""Parts that may differ: items are compared row by row, and more of them are a top-up."""

_ABSENT: Final = "nothing"


@dataclass(frozen=True)
class Difference:
    """One point at which two requests differ."""

    where: str
    old: object
    new: object

    def __str__(self) -> str:
        return f"{self.where} was {_said(self.old)} and is now {_said(self.new)}"


def _said(value: object) -> str:
    return _ABSENT if value is None else shown(value)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    """List the points at which a request differs from the one that made a store."""
    found: list[Difference] = []
    first, second = plain(dict(old)), plain(dict(new))
    for key in sorted(set(first) | set(second)):
        if key == "models":
            before, after = _by_label(first.get(key)), _by_label(second.get(key))
            for label in before.keys() & after.keys():
                found += _compared(f"models[{label}]", before[label], after[label])
        elif key not in _FREE:
            found += _compared(key, first.get(key), second.get(key))
    return found


def _by_label(models: Any) -> dict[str, Any]:
    """Name each model of a request by its label in the store."""
    if isinstance(models, dict):
        return dict(models)
    named = {}
    for number, model in enumerate(models or []):
        named[_label(model) or str(number)] = model
    return named


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


def check_request(store: StoreView, request: Mapping[str, Any]) -> None:
    """Refuse to go on with a store that another request made."""
    found = differences(store.request, request)
    if not found:
        return
    listed = "; ".join(str(one) for one in found)
    back = ", ".join(f"{one.where}={_said(one.old)}" for one in found)
    raise StoreMismatchError(
        "store request",
        value=str(store.target),
        reason=f"the store was made by another request: {listed}",
        fix=f"write to another out=, or ask for what the store was made with ({back})",
    )
