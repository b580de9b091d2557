"""What every spec can do: become a dictionary or JSON, come back, and give Dask a stable token."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from rs_embed_dask.errors import SpecError, UnknownNameError

__all__ = ["Record", "as_mapping"]


def _plain(value: object) -> Any:
    """Turn tuples into lists and nested records into dictionaries, as JSON wants them."""
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return value


def as_mapping(what: str, data: object) -> Mapping[str, Any]:
    """Return data as it is where it is a mapping.

    Parameters
    ----------
    what : str
        What is to be made of it, for the message.
    data : object
        What the user gave.

    Returns
    -------
    mapping

    Raises
    ------
    SpecError
        Where it is none.
    """
    if not isinstance(data, Mapping):
        reason = f"a dictionary is needed, this is {type(data).__name__}"
        raise SpecError(what, value=data, reason=reason, fix="give what to_dict() returns")
    return data


class Record:
    """A frozen dataclass that survives JSON, pickling and Dask."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that are not None as JSON values.

        Returns
        -------
        dict
            Texts, numbers, booleans, lists and dictionaries only.
        """
        values = ((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))
        return {name: _plain(value) for name, value in values if value is not None}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Make the record from a dictionary, which is validated like any other input.

        Parameters
        ----------
        data : mapping
            What `to_dict` gave.

        Returns
        -------
        Self

        Raises
        ------
        SpecError
            Where it is no mapping, lacks a field or holds a bad value.
        UnknownNameError
            Where it has a field that the record does not know.
        """
        data = as_mapping(cls.__name__, data)
        fields = {field.name: field for field in dataclasses.fields(cls)}
        given = {name: value for name, value in data.items() if name != "type" or "type" in fields}
        for name in given:
            if name not in fields:
                raise UnknownNameError.among(f"{cls.__name__} field", name, fields)
        for name, field in fields.items():
            optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
            if name not in given and not optional:
                reason = f"the field {name!r} is missing"
                raise SpecError(cls.__name__, value=dict(data), reason=reason, fix=f"add {name!r}")
        return cls(**given)

    def __repr__(self) -> str:
        """Write the fields that differ from their defaults."""
        fields = dataclasses.fields(self)
        given = [(f.name, getattr(self, f.name)) for f in fields if getattr(self, f.name) != f.default]
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in given)})"

    def to_json(self) -> str:
        """Return the record as one line of JSON with sorted keys.

        Returns
        -------
        str
        """
        return json.dumps(self.to_dict(), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Make the record from JSON.

        Parameters
        ----------
        line : str
            What `to_json` gave.

        Returns
        -------
        Self

        Raises
        ------
        SpecError
            Where it is no JSON, or as `from_dict`.
        """
        try:
            data = json.loads(line)
        except (json.JSONDecodeError, TypeError) as error:
            fix = "give what to_json() returns"
            raise SpecError(cls.__name__, value=line, reason=f"this is not JSON ({error})", fix=fix) from error
        return cls.from_dict(data)

    def __dask_tokenize__(self) -> tuple[str, str]:
        """Return what identifies the record: the same in every process and on every machine."""
        return f"rs_embed_dask.{type(self).__name__}", self.to_json()
