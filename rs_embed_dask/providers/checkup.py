"""What a provider can find out about itself where it runs: rows of questions and answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from rs_embed_dask.errors import SpecError

__all__ = ["Check", "ChecksItself", "checkup"]


@dataclass(frozen=True)
class Check:
    """One question and its answer.

    Parameters
    ----------
    question, answer : str
        For people.
    is_well : bool, optional
        Whether the answer is what this package counts on; None where it counts on nothing.
    """

    question: str
    answer: str
    is_well: bool | None = None


@runtime_checkable
class ChecksItself(Protocol):
    """A provider that can say whether it would work here."""

    def checks(self, *, live: bool) -> list[Check]:
        """Answer what can be answered here; `live` asks the service too."""


def checkup(provider: object, *, live: bool) -> list[Check]:
    """Let a provider check itself.

    Parameters
    ----------
    provider : Provider
        Which.
    live : bool
        Whether the service may be asked.

    Returns
    -------
    list of Check

    Raises
    ------
    SpecError
        If it cannot.
    """
    if isinstance(provider, ChecksItself):
        return provider.checks(live=live)
    name = getattr(provider, "name", type(provider).__name__)
    fix = "try --provider earth_engine, or read a place with `rs-embed-dask inspect`"
    raise SpecError("doctor", value=name, reason="this provider has no checks of its own", fix=fix)
