"""The judge: a store against that of an undisturbed run, item by item and byte by byte."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from rs_embed_dask.store import DONE, Status, Store, verify
from rs_embed_dask.store.layout import ITEM_FIELDS

_DONE = [int(code) for code in DONE]

ROW_NUMBERS = {"item"}
"""The only array of the items that may differ: rows lie in the order in which they were added."""


Row: TypeAlias = dict[str, bytes]
"""All that a store holds about one item, as bytes by ``group/array``."""


@dataclass(frozen=True)
class Verdict:
    """Ids of the items that are missing or not done, that are there twice, and that differ or should not be there."""

    items: int
    lost: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    damages: tuple[str, ...] = ()
    """What `verify` finds in the store."""
    details: tuple[str, ...] = ()
    """What became of the lost items, and in which arrays the wrong ones differ."""

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.doubled or self.wrong or self.damages)

    def __str__(self) -> str:
        counts = {"lost": self.lost, "doubled": self.doubled, "wrong": self.wrong, "damaged": self.damages}
        told = ", ".join(f"{len(ids)} {name}" for name, ids in counts.items())
        doubled = [f"{name} is there twice" for name in self.doubled]
        return "\n    ".join([told, *doubled, *self.details, *self.damages])


def judge(store: Store, reference: Store) -> Verdict:
    """Compare what a disturbed run left with what an undisturbed one wrote."""
    rows, right = _rows(store), dict(_rows(reference))
    times = Counter(key for key, _ in rows)
    status = _status(store)
    lost = [name for name in right if not (name in status and np.isin(status[name], _DONE).all())]
    wrong = [(name, row) for name, row in rows if name not in lost and right.get(name) != row]
    return Verdict(
        len(right),
        lost=tuple(lost),
        doubled=tuple(name for name, count in times.items() if count > 1),
        wrong=tuple(sorted({name for name, _ in wrong})),
        damages=tuple(f"{one.where}: {one.reason}" for one in verify(store.location).damages),
        details=(
            *(f"{name} is lost: {_told(dict(rows).get(name))}" for name in lost),
            *(f"{name} is wrong: {_difference(row, right.get(name))}" for name, row in wrong),
        ),
    )


def _told(row: Row | None) -> str:
    """What a store says of an item that is not done."""
    if row is None:
        return "it is not there"
    names = sorted(name.partition("/")[0] for name in row if name.endswith("/status"))
    return "; ".join(
        f"{name} {Status(row[f'{name}/status'][0]).words} {row[f'{name}/reason'].decode()}" for name in names
    )


def _difference(row: Row, right: Row | None) -> str:
    """Name the arrays in which a row differs, and how."""
    if right is None:
        return "nobody asked for it"
    return "; ".join(_compared(name, row[name], right[name]) for name in row if row[name] != right.get(name))


def _compared(name: str, value: bytes, right: bytes) -> str:
    if not name.endswith("/embedding"):
        return f"{name} is {value!r} instead of {right!r}"
    numbers, expected = np.frombuffer(value, "float32"), np.frombuffer(right, "float32")
    return f"{name} by up to {np.abs(numbers - expected).max():.3g} of up to {np.abs(expected).max():.3g}"


def done_share(store: Store, total: int) -> float:
    """What share of a number of items is done for every model."""
    status = [np.isin(store.values(label, "status"), _DONE) for label in store.labels]
    return float(np.logical_and.reduce(status).sum()) / total


def open_chunks(store: Store) -> int:
    """How many chunks a resumed run has to look at."""
    return len(np.unique(np.concatenate([store.pending(label) for label in store.labels])))


def _status(store: Store) -> dict[str, np.ndarray]:
    """The status of each item for all models, of all rows that bear its id."""
    names = [str(name) for name in store.values("items", "id")]
    codes = np.stack([store.values(label, "status") for label in store.labels], axis=1)  # (N, models)
    return {name: codes[[row for row, other in enumerate(names) if other == name]] for name in names}


def _rows(store: Store) -> list[tuple[str, Row]]:
    """Each row's id with all that the store holds about it."""
    groups = {"items": sorted({field.name for field in ITEM_FIELDS} - ROW_NUMBERS)}
    groups |= {label: sorted(field.name for field in store.layout(label).fields) for label in sorted(store.labels)}
    columns = {f"{group}/{name}": store.values(group, name) for group, names in groups.items() for name in names}
    names = store.values("items", "id")
    return [
        (str(names[row]), {name: _bytes(column[row]) for name, column in columns.items()})
        for row in range(store.n_items)
    ]


def _bytes(value: object) -> bytes:
    return value.encode() if isinstance(value, str) else np.asarray(value).tobytes()
