"""Verbs that share options: each is written once, in a typed dictionary, and shown by `help` and completion in full."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any, ForwardRef, TypeVar

__all__ = ["showing"]

_Verb = TypeVar("_Verb", bound=Callable[..., Any])


def showing(*dictionaries: type) -> Callable[[_Verb], _Verb]:
    """Make a verb's signature and docstring list the options that it takes as ``**options``; the last holds all."""

    def shown(verb: _Verb) -> _Verb:
        plain = inspect.signature(verb)
        own = [one for one in plain.parameters.values() if one.kind is not one.VAR_KEYWORD]
        more = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_text(annotation))
            for name, annotation in dictionaries[-1].__annotations__.items()
        ]
        setattr(verb, "__signature__", plain.replace(parameters=[*own, *more]))  # noqa: B010  mypy knows no such field
        verb.__doc__ = re.sub(
            r"^    \*\*options\n(?: {8}.*\n)+", lambda _: _entries(dictionaries), verb.__doc__ or "", flags=re.MULTILINE
        )
        return verb

    return shown


def _text(annotation: object) -> object:
    return annotation.__forward_arg__ if isinstance(annotation, ForwardRef) else annotation


def _entries(dictionaries: Sequence[type]) -> str:
    """Return what the docstrings of dictionaries say of their options."""
    found = (re.search(r"Attributes\n    -+\n((?: {4,8}.+\n)+)", one.__doc__ or "") for one in dictionaries)
    return "".join(one[1] for one in found if one)
