"""Sets of blocks of a map, as runs along rows: a country's million blocks take a few thousand numbers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, TypeAlias

from rs_embed_dask.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["BlockSet"]

_Span: TypeAlias = tuple[int, int]
_Spans: TypeAlias = tuple[_Span, ...]


@dataclass(frozen=True)
class BlockSet:
    """Some blocks of one lattice.

    Parameters
    ----------
    rows : tuple of (int, tuple of (int, int))
        Each row with its runs (first column, column after the last), both in order; use `of` or `of_rectangles`.

    Examples
    --------
    >>> blocks = BlockSet.of([(4, 7), (4, 8), (5, 7)])
    >>> list(blocks), blocks.bounds, blocks.to_text()
    ([(4, 7), (4, 8), (5, 7)], (4, 7, 6, 9), '4:7-9;5:7-8')
    """

    rows: tuple[tuple[int, _Spans], ...] = ()

    @classmethod
    def of(cls, blocks: Iterable[tuple[int, int]]) -> BlockSet:
        """Make the set of some (row, column)."""
        return cls.of_rectangles((row, col, row + 1, col + 1) for row, col in blocks)

    @classmethod
    def of_rectangles(cls, rectangles: Iterable[tuple[int, int, int, int]]) -> BlockSet:
        """Make the set of all blocks in some rectangles (top, left, bottom, right), which may overlap."""
        spans: dict[int, list[_Span]] = defaultdict(list)
        for top, left, bottom, right in rectangles:
            for row in range(top, bottom if left < right else top):
                spans[row].append((left, right))
        return cls(tuple((row, _merged(spans[row])) for row in sorted(spans)))

    @cached_property
    def _by_row(self) -> dict[int, _Spans]:
        return dict(self.rows)

    def __len__(self) -> int:
        return sum(stop - first for _, spans in self.rows for first, stop in spans)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Go through the blocks row by row."""
        return ((row, col) for row, spans in self.rows for span in spans for col in range(*span))

    def __contains__(self, block: tuple[int, int]) -> bool:
        return any(first <= block[1] < stop for first, stop in self._by_row.get(block[0], ()))

    def __or__(self, other: BlockSet) -> BlockSet:
        """Return the blocks of either set."""
        return self.of_rectangles([*self.rectangles(), *other.rectangles()])

    def __sub__(self, other: BlockSet) -> BlockSet:
        """Return the blocks that are not in another set."""
        left = ((row, _without(spans, other._by_row.get(row, ()))) for row, spans in self.rows)
        return BlockSet(tuple((row, spans) for row, spans in left if spans))

    def rectangles(self) -> Iterator[tuple[int, int, int, int]]:
        """Go through the set as disjoint rectangles (top, left, bottom, right): rows with equal runs at once."""
        for (_, spans), group in groupby(enumerate(self.rows), key=lambda one: (one[1][0] - one[0], one[1][1])):
            rows = [row for _, (row, _) in group]
            yield from ((rows[0], first, rows[-1] + 1, stop) for first, stop in spans)

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """The rectangle (top, left, bottom, right) around all blocks; empty at (0, 0) if there are none."""
        if not self.rows:
            return 0, 0, 0, 0
        left = min(spans[0][0] for _, spans in self.rows)
        return self.rows[0][0], left, self.rows[-1][0] + 1, max(spans[-1][1] for _, spans in self.rows)

    def to_text(self) -> str:
        """Write the set: rows, a colon, and runs of columns, as ranges that leave their last number out."""
        lines: dict[tuple[int, int], list[str]] = {}
        for top, left, bottom, right in self.rectangles():
            lines.setdefault((top, bottom), []).append(f"{left}-{right}")
        names = ((f"{top}" if bottom == top + 1 else f"{top}-{bottom}", runs) for (top, bottom), runs in lines.items())
        return ";".join(f"{name}:{','.join(runs)}" for name, runs in names)

    @classmethod
    def from_text(cls, text: str) -> BlockSet:
        """Read what `to_text` wrote. Raises StoreError."""
        try:
            return cls.of_rectangles(
                (top, left, bottom, right)
                for line in filter(None, text.split(";"))
                for top, bottom in [_numbers(line.partition(":")[0])]
                for left, right in map(_numbers, line.partition(":")[2].split(","))
            )
        except ValueError as error:
            reason, fix = f"it is no list of blocks ({error})", "restore the store's zarr.json from a copy"
            raise StoreError("blocks", value=text, reason=reason, fix=fix) from error


def _numbers(text: str) -> _Span:
    first, _, stop = text.partition("-")
    return int(first), int(stop) if stop else int(first) + 1


def _merged(spans: list[_Span]) -> _Spans:
    runs: list[_Span] = []
    for first, stop in sorted(spans):
        if runs and first <= runs[-1][1]:
            runs[-1] = (runs[-1][0], max(stop, runs[-1][1]))
        else:
            runs.append((first, stop))
    return tuple(runs)


def _without(spans: _Spans, taken: _Spans) -> _Spans:
    left = list(spans)
    for start, end in taken:
        cut = [((first, min(stop, start)), (max(first, end), stop)) for first, stop in left]
        left = [(first, stop) for pair in cut for first, stop in pair if first < stop]
    return tuple(left)
