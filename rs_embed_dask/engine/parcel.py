"""A value pickled once, carried by every task and opened once in each process."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Self

from distributed.protocol import pickle

__all__ = ["Parcel"]


@dataclass(frozen=True)
class Parcel:
    """A pickled value.

    Attributes
    ----------
    digest : str
        Of the pickle.
    blob : bytes
        The pickle.
    """

    digest: str
    blob: bytes = field(repr=False, compare=False)

    @classmethod
    def of(cls, value: object, *, state: str = "") -> Self:
        """Pickle a value, with what the user's own script defines.

        Parameters
        ----------
        value : object
            Anything that survives pickling.
        state : str, optional
            Says in which state it is, where its pickle does not: in another state it is opened anew.

        Returns
        -------
        Parcel
        """
        blob = pickle.dumps(value)
        return cls(hashlib.blake2b(blob + state.encode(), digest_size=8).hexdigest(), blob)

    def open(self) -> Any:
        """Return the value, the same object each time in one process."""
        return _opened(self)


@lru_cache(maxsize=16)
def _opened(parcel: Parcel) -> Any:
    return pickle.loads(parcel.blob)
