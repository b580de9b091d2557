"""What every spec can do: convert to a dictionary or JSON and back, and give Dask a stable token."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import numbers
import operator
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from rs_embed_dask.errors import SpecError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

__all__ = [
    "Record",
    "as_mapping",
    "choice",
    "flag",
    "local_path",
    "named",
    "number",
    "positive",
    "renamed",
    "several",
    "text",
    "whole",
]

_T = TypeVar("_T")


def number(what: str, value: object, *, fix: str = "give a number") -> float:
    """Return a finite number as float; refuse booleans, strings, NaN and infinities."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise SpecError(what, value=value, reason=f"expected a finite number, got {type(value).__name__}", fix=fix)
    try:
        real = float(value)
    except OverflowError:
        real = math.inf
    if not math.isfinite(real):
        raise SpecError(what, value=value, reason="the number is not finite", fix=fix)
    return real + 0.0  # turns -0.0 into 0.0: they compare equal but would get different tokens


def several(what: str, value: Any, *, fix: str) -> list[Any]:
    """Return what is listed, one text being a list of itself; refuse what is no list."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, Iterable):
        raise SpecError(what, value=value, reason=f"expected a list, got {type(value).__name__}", fix=fix)
    return list(value)


def positive(what: str, value: object, *, at_most: float = math.inf, unit: str = "", fix: str = "") -> float:
    """Return a number above zero and at most `at_most` as float."""
    span = f"above 0{f' and at most {at_most:g}' if math.isfinite(at_most) else ''}{f' {unit}' if unit else ''}"
    advice = fix or f"give a number {span}"
    real = number(what, value, fix=advice)
    if not 0 < real <= at_most:
        raise SpecError(what, value=value, reason=f"it must be {span}", fix=advice)
    return real


def whole(what: str, value: object, *, low: int, high: int, fix: str = "") -> int:
    """Return a whole number in [low, high] as int; refuse ``3.0`` and booleans."""
    advice = fix or f"give a whole number in [{low}, {high}]"
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        reason = f"expected a whole number, got {type(value).__name__}"
        raise SpecError(what, value=value, reason=reason, fix=advice)
    if not low <= int(value) <= high:
        raise SpecError(what, value=value, reason=f"it must lie in [{low}, {high}]", fix=advice)
    return int(value)


def text(what: str, value: object, *, fix: str) -> str:
    """Return a non-empty string without leading and trailing whitespace."""
    if not isinstance(value, str):
        raise SpecError(what, value=value, reason=f"expected a string, got {type(value).__name__}", fix=fix)
    if not value.strip():
        raise SpecError(what, value=value, reason="the string is empty", fix=fix)
    return value.strip()


def flag(what: str, value: object, *, fix: str) -> bool:
    """Return True or False; refuse 1, 0 and strings."""
    if not isinstance(value, bool):
        reason = f"expected True or False, got {type(value).__name__}"
        raise SpecError(what, value=value, reason=reason, fix=fix)
    return value


def choice(what: str, value: object, names: Collection[str]) -> str:
    """Return a name that is among `names`."""
    if not isinstance(value, str):
        reason = f"expected a name, got {type(value).__name__}"
        raise SpecError(what, value=value, reason=reason, fix=f"use one of {', '.join(sorted(names))}")
    if value not in names:
        raise UnknownNameError.among(what, value, names)
    return value


def named(what: str, value: Any, names: Collection[str]) -> list[str]:
    """Return the names that are listed, one text being a list of itself; each is among `names`."""
    fix = f"use some of {', '.join(sorted(names))}"
    listed = several(what, value, fix=fix)
    if not listed:
        raise SpecError(what, value=value, reason="nothing is named", fix=fix)
    return [choice(what, one, names) for one in listed]


def local_path(what: str, value: object, *, fix: str) -> Path:
    """Return a path on this machine; ``~`` is the user's folder."""
    if not isinstance(value, str | PathLike):
        raise SpecError(what, value=value, reason=f"expected a path, got {type(value).__name__}", fix=fix)
    given = str(value)
    if not given or "://" in given:
        reason = "it is a URL, and it must lie on this machine" if given else "the path is empty"
        raise SpecError(what, value=given, reason=reason, fix=fix)
    return Path(given).expanduser()


def renamed(**names: str) -> Callable[[type[_T]], type[_T]]:
    """Let the fields of a dataclass be passed and read under a second name, that of rs-embed."""

    def decorate(kind: type[_T]) -> type[_T]:
        plain: Callable[..., None] = kind.__init__
        order = tuple(kind.__annotations__)

        @functools.wraps(plain)
        def init(self: object, *args: Any, **options: Any) -> None:
            for second in names.keys() & options.keys():
                first, value = names[second], options.pop(second)
                taken = {**dict(zip(order, args, strict=False)), **options}.get(first)
                if value is None:
                    continue
                if taken is None:
                    options[first] = value
                elif taken != value:
                    reason = f"{first} = {taken!r} was given too, and both mean the same"
                    raise SpecError(f"{kind.__name__}.{second}", value=value, reason=reason, fix=f"give {first} only")
            plain(self, *args, **options)

        setattr(kind, "__init__", init)  # noqa: B010  mypy refuses the plain assignment
        for second, first in names.items():
            setattr(kind, second, property(operator.attrgetter(first), doc=f"Second name of `{first}`."))
        return kind

    return decorate


def _plain(value: object) -> Any:
    """Turn tuples into lists and nested records into dictionaries, as JSON requires."""
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return value


def as_mapping(what: str, data: object, *, fix: str = "give what to_dict() returns") -> Mapping[str, Any]:
    """Return the data unchanged if it is a mapping."""
    if not isinstance(data, Mapping):
        reason = f"expected a dictionary, got {type(data).__name__}"
        raise SpecError(what, value=data, reason=reason, fix=fix)
    return data


class Record:
    """A frozen dataclass that survives JSON, pickling and Dask."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that are not None as JSON values."""
        values = ((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))
        return {name: _plain(value) for name, value in values if value is not None}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build the record from a dictionary, validated like any other input."""
        data = as_mapping(cls.__name__, data)
        fields = {field.name: field for field in dataclasses.fields(cls)}
        values = {name: value for name, value in data.items() if name != "type" or "type" in fields}
        for name in values:
            if name not in fields:
                raise UnknownNameError.among(f"{cls.__name__} field", name, fields)
        for name, field in fields.items():
            optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
            if name not in values and not optional:
                reason = f"the field {name!r} is missing"
                raise SpecError(cls.__name__, value=dict(data), reason=reason, fix=f"add {name!r}")
        return cls(**values)

    def validate(self) -> None:
        """Do nothing: a spec is validated when it is made. rs-embed's code calls this."""

    def __repr__(self) -> str:
        """Write the fields that differ from their defaults."""
        fields = dataclasses.fields(self)
        changed = [(f.name, getattr(self, f.name)) for f in fields if getattr(self, f.name) != f.default]
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in changed)})"

    def to_json(self) -> str:
        """Return the record as one line of JSON with sorted keys."""
        return json.dumps(self.to_dict(), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Build the record from JSON."""
        try:
            data = json.loads(line)
        except (json.JSONDecodeError, TypeError) as error:
            fix = "give what to_json() returns"
            raise SpecError(cls.__name__, value=line, reason=f"this is not JSON ({error})", fix=fix) from error
        return cls.from_dict(data)

    def __dask_tokenize__(self) -> tuple[str, str]:
        """Return what identifies the record, the same in every process and on every machine."""
        return f"rs_embed_dask.{type(self).__name__}", self.to_json()
