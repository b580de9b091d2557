"""The fields of a case: which there are, which were read, and which say nothing about how to run it."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

PARTS = ("side", "weights", "inputs", "expected")
# By part ("" is the case itself): what describes a case, reports a figure of it, or is read by the harness alone.
# `variant` and `config` are left to the adapters as a whole, for many read the sizes off the tensors instead.
# Anything else that nobody reads makes the case not understood.
DESCRIPTIONS = ("about", "comment", "description", "meaning", "note", "notes", "provenance", "source")
NOT_READ: dict[str, tuple[str, ...]] = {
    "": (
        "name",
        "variant",
        "config",
        "semantics",  # whose preparation it is, in words
        "float64_relative_error",
        "rounding",
        "mistakes",
        "margins",
        "groups",
        "relative_to",
        "relative_difference*",
        "*_error",
        "rs_embed_relative_difference",
        "rs_embed_grid_source",
        "rs_embed_grid_kind",
        "uint8_values_that_differ_in_float32",
    ),
    "side": (),
    "weights": ("real", "only"),
    "inputs": ("layout", "units"),
    "expected": ("output", "array", "shape", "kind", "indices", "mean", "std", "rounding", "changes"),
}


class Fields(Mapping[str, Any]):
    """The fields of a case or of a part of it; remembers by name which of them were looked up.

    ``in``, iteration and ``items()`` do not count: going through all names is not knowing each of them.
    """

    def __init__(self, content: Mapping[str, Any], part: str = "") -> None:
        self._part = part
        self._content = dict(content)
        self._read: set[str] = set()
        for name in PARTS if not part else ():
            self._content |= {name: _wrapped(name, self._content[name])} if name in self._content else {}

    def __getitem__(self, name: str) -> Any:
        value = self._content[name]
        self._read.add(name)
        return value

    def __contains__(self, name: object) -> bool:
        return name in self._content

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)

    def items(self) -> ItemsView[str, Any]:
        return self._content.items()

    def unread(self) -> list[str]:
        """List what nobody looked up, parts included: ``hide``, ``side.resolution``, ``inputs[0].nodata``."""
        names: list[str] = []
        for name, value in self._content.items():
            parts = value if isinstance(value, list) else [value]
            if not self._part and name in PARTS and all(isinstance(one, Fields) for one in parts):
                for number, one in enumerate(parts):
                    place = f"{name}[{number}]" if isinstance(value, list) else name
                    names += [f"{place}.{inside}" for inside in one.unread()]
            elif name not in self._read and not any(
                fnmatchcase(name, known) for known in (*DESCRIPTIONS, *NOT_READ[self._part])
            ):
                names.append(name)
        return names


def _wrapped(part: str, value: Any) -> Any:
    """Wrap a part of a case; inputs by role are a list of inputs with roles."""
    if part == "inputs" and isinstance(value, Mapping):
        value = [{"input": role, **facts} for role, facts in value.items()]
    if isinstance(value, list):
        return [Fields(one, part) for one in value]
    return Fields(value, part) if isinstance(value, Mapping) else value
