"""What can be said of one item and one model: the status codes."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

__all__ = ["DONE", "RETRYABLE", "STATUS_COLOURS", "UNDONE", "Status"]


class Status(IntEnum):
    """What became of one item in one model's hands.

    The values are written in every store and never change their meaning.
    """

    PENDING = 0
    """Not decided yet."""
    OK = 1
    """Embedded."""
    PARTIAL = 2
    """Embedded, but a frame or more than 10 % of the pixels was missing."""
    NO_DATA = 3
    """There is no imagery there and then."""
    READ_FAILED = 4
    """The imagery could not be read; the reason says why."""
    MODEL_FAILED = 5
    """The encoder failed on this item; the reason says why."""
    INVALID = 6
    """The item can never be embedded; the reason says why."""


DONE: Final = frozenset({Status.OK, Status.PARTIAL, Status.NO_DATA, Status.INVALID})
"""Decided for good: nothing is computed again."""

RETRYABLE: Final = frozenset({Status.READ_FAILED, Status.MODEL_FAILED})
"""Failed in a way that another try may mend."""

UNDONE: Final = frozenset({Status.PENDING}) | RETRYABLE
"""What a run takes up: everything that is not done."""

STATUS_COLOURS: Final = {
    Status.PENDING: "#c3c9d0",
    Status.OK: "#2b8a5a",
    Status.PARTIAL: "#9bc53d",
    Status.NO_DATA: "#5b8db8",
    Status.READ_FAILED: "#e08e2b",
    Status.MODEL_FAILED: "#c9372c",
    Status.INVALID: "#7b4fa3",
}
"""One colour a status, the same in every picture and report."""
