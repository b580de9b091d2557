"""The judge: a store against that of an undisturbed run, item by item and byte by byte."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from rs_embed_dask.store import DONE, Store

ROW_NUMBERS = {"item"}
"""The only array of the items that may differ: rows lie in the order in which they were added."""


@dataclass(frozen=True)
class Verdict:
    """Ids of the items that are missing or not done, that are there twice, and that differ or should not be there."""

    items: int
    lost: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.doubled or self.wrong)

    def __str__(self) -> str:
        counts = {"lost": self.lost, "doubled": self.doubled, "wrong": self.wrong}
        return ", ".join(f"{len(ids)} {name}{ids or ''}" for name, ids in counts.items())


def judge(store: Store, reference: Store) -> Verdict:
    """Compare what a disturbed run left with what an undisturbed one wrote."""
    rows, right = _rows(store), dict(_rows(reference))
    times = Counter(key for key, _ in rows)
    is_done = {name: bool(np.isin(codes, [int(code) for code in DONE]).all()) for name, codes in _status(store).items()}
    lost = [name for name in right if not is_done.get(name, False)]
    wrong = [name for name, content in rows if name not in lost and right.get(name) != content]
    doubled = [name for name, count in times.items() if count > 1]
    return Verdict(len(right), tuple(lost), tuple(doubled), tuple(sorted(set(wrong))))


def done_share(store: Store, total: int) -> float:
    """What share of a number of items is done for every model."""
    status = [np.isin(store.values(label, "status"), [int(code) for code in DONE]) for label in store.labels]
    return float(np.logical_and.reduce(status).sum()) / total


def open_chunks(store: Store) -> int:
    """How many chunks a resumed run has to look at."""
    return len(np.unique(np.concatenate([store.pending(label) for label in store.labels])))


def _status(store: Store) -> dict[str, np.ndarray]:
    """The status of each item for all models, of all rows that bear its id."""
    names = [str(name) for name in store.values("items", "id")]
    codes = np.stack([store.values(label, "status") for label in store.labels], axis=1)  # (N, models)
    return {name: codes[[row for row, other in enumerate(names) if other == name]] for name in names}


def _rows(store: Store) -> list[tuple[str, tuple[bytes, ...]]]:
    """Each row's id with all that the store holds about it, as bytes."""
    groups = {"items": sorted(set(_item_arrays()) - ROW_NUMBERS)}
    groups |= {label: sorted(field.name for field in store.layout(label).fields) for label in sorted(store.labels)}
    columns = [store.values(group, name) for group, names in groups.items() for name in names]
    names = store.values("items", "id")
    return [(str(names[row]), tuple(_bytes(column[row]) for column in columns)) for row in range(store.n_items)]


def _item_arrays() -> list[str]:
    from rs_embed_dask.store.layout import ITEM_FIELDS

    return [field.name for field in ITEM_FIELDS]


def _bytes(value: object) -> bytes:
    return value.encode() if isinstance(value, str) else np.asarray(value).tobytes()
