"""Compares what a model gave with what a case expects."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.parity.cases import NotUnderstoodError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.parity.cases import Case

_DRAWN = re.compile(r"np\.random\.default_rng\((\d+)\)\.integers\(0, (\d+), (\d+)\)")


@dataclass(frozen=True)
class Row:
    """A line of the table; `trouble` is why an output failed, or what of its case was not understood."""

    model: str
    case: str
    output: str
    error: float
    allowed: float
    trouble: str = ""
    understood: bool = True

    @property
    def passed(self) -> bool:
        return self.understood and not self.trouble and self.error <= self.allowed

    def __str__(self) -> str:
        end = self.trouble or ("ok" if self.passed else "FAILED")
        end = end if self.understood else f"NOT UNDERSTOOD: {end}"
        return f"{self.model:12} {self.case:32} {self.output:26} {self.error:9.2e} {self.allowed:9.2e}  {end}"


def compare(case: Case, outputs: Mapping[str, np.ndarray]) -> list[Row]:
    """One row per expected output."""
    return [_row(case, facts, outputs.get(str(facts["output"]))) for facts in case.facts["expected"]]


def _row(case: Case, facts: Mapping[str, Any], output: np.ndarray | None) -> Row:
    name, allowed, array = str(facts["output"]), case.allowed(facts), case.arrays[facts["array"]]
    if output is None:
        return Row(case.model, case.name, name, np.nan, allowed, "FAILED: the adapter gave no such output")
    given = np.asarray(output, dtype=np.float64)
    shape = tuple(facts["shape"])
    if given.shape != shape and given.size == np.prod(shape) and _squeezed(given.shape) == _squeezed(shape):
        given = given.reshape(shape)
    if given.shape != shape:
        return Row(case.model, case.name, name, np.nan, allowed, f"FAILED: shape {given.shape}, not {shape}")
    error = relative_error(_picked(given, facts), np.asarray(array, dtype=np.float64))
    moments = _moments(given, facts)
    trouble = "" if moments <= max(1e-4, 100 * allowed) else f"FAILED: mean or std off by {moments:.1e}"
    return Row(case.model, case.name, name, error, allowed, trouble)


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(side for side in shape if side != 1)


def _picked(given: np.ndarray, facts: Mapping[str, Any]) -> np.ndarray:
    if facts.get("kind", "whole") == "whole":
        return given
    found = _DRAWN.fullmatch(str(facts.get("indices")))
    if facts["kind"] != "sampled" or found is None:
        raise NotUnderstoodError(f"kind {facts['kind']!r}, indices {facts.get('indices')!r}")
    seed, high, count = map(int, found.groups())
    return given.reshape(-1)[np.random.default_rng(seed).integers(0, high, count)]


def relative_error(given: np.ndarray, wanted: np.ndarray) -> float:
    """||given - wanted|| / ||wanted||; NaN must lie in the same places."""
    gaps = np.isnan(wanted)
    if given.shape != wanted.shape or (np.isnan(given) != gaps).any():
        return np.inf
    norm = np.linalg.norm(wanted[~gaps])
    return float(np.linalg.norm(given[~gaps] - wanted[~gaps]) / (norm or 1.0))


def _moments(given: np.ndarray, facts: Mapping[str, Any]) -> float:
    """How far mean and std of the whole output are off, over its root mean square: sees what a sample misses."""
    told = [facts.get(name) for name in ("mean", "std")]
    if None in told:
        return 0.0
    found = np.nanmean(given), np.nanstd(given)
    size = np.hypot(*told) or 1.0
    return float(max(abs(a - b) for a, b in zip(found, told, strict=True)) / size)
