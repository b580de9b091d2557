"""What the emulator is told: delays, limits, and what goes wrong."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Fault:
    """What goes wrong with the next requests that it fits.

    `kind` is ``status``, ``reset``, ``truncate``, ``hang``, ``html`` or ``garbage``; `over_bytes` lets smaller requests
    pass.
    """

    kind: str = "status"
    of: str = "pixels"
    times: int = 1
    status: int = 503
    message: str = "The service is currently unavailable."
    retry_after_s: float | None = None
    seconds: float = 1.0
    over_bytes: int = 0


@dataclass
class Settings:
    latency_s: float = 0.0
    at_once: int = 40
    per_second: int | None = None
    limit_bytes: int = 48 * 2**20
    token: str | None = None
    remember: bool = False
    faults: list = field(default_factory=list)
