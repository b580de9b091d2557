"""Checks of a map: that its documents agree, and that each block is what was written."""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.errors import StoreError
from rs_embed_dask.store.check_root import check_table, without_claim
from rs_embed_dask.store.damage import Damage, Finding, Remedy
from rs_embed_dask.store.document import COPY_KEY, ROOT_KEY, is_as_written
from rs_embed_dask.store.fence import stamped_json
from rs_embed_dask.store.layout import CHECKSUM, EMBEDDED, Status
from rs_embed_dask.store.map_arrays import make_coords
from rs_embed_dask.store.map_document import MapDocument
from rs_embed_dask.store.map_layout import COVERAGE, BlockKey

if TYPE_CHECKING:
    from collections.abc import Iterator, Set as AbstractSet

    from rs_embed_dask.store.document import Location
    from rs_embed_dask.store.layout import Field
    from rs_embed_dask.store.map_layout import MapGroup
    from rs_embed_dask.store.map_store import MapView
    from rs_embed_dask.store.map_writer import StoredBlock

__all__ = ["check_group", "check_map_model", "check_map_root", "lost_blocks"]

_CHECKED: Final = "checked"
_CODES: Final = frozenset(int(code) for code in Status)
_WRITTEN: Final = frozenset({"embedding", COVERAGE, CHECKSUM.name})
"""Of these a block with vectors always has a file; what is blank elsewhere has none."""


def check_map_root(location: Location) -> tuple[MapDocument, list[Finding]]:
    """Find the root document of a map, from its copy if need be, and what is wrong with either."""
    content, copy = location.read(ROOT_KEY), location.read(COPY_KEY)
    fault, copied = _fault(content, location), _fault(copy, location)
    if content is not None and not fault:
        document = MapDocument.load(location)
        if not copied and without_claim(content) == without_claim(copy or b""):
            return document, []
        damage = Damage(COPY_KEY, f"it is not the same as {ROOT_KEY}", Remedy.REBUILD)
        return document, [Finding(damage, lambda inside: inside.write(COPY_KEY, inside.read(ROOT_KEY) or content))]
    if copy is None or copied:
        document = MapDocument.load(location)  # which says what is wrong, unless it is a change that can be read
        return document, [Finding(Damage(ROOT_KEY, fault, Remedy.RESTORE))]
    mend = partial(_put, key=ROOT_KEY, content=copy)
    fence = (ROOT_KEY, lambda _, mark: stamped_json(copy, mark))
    return MapDocument.of(copy, location), [Finding(Damage(ROOT_KEY, fault, Remedy.REBUILD), mend, fence)]


def _put(location: Location, *, key: str, content: bytes) -> None:
    location.write(key, content)


def _fault(content: bytes | None, location: Location) -> str:
    """Say what is wrong with a root document, if anything is."""
    if content is None:
        return "it is missing"
    try:
        document = MapDocument.of(content, location)
    except StoreError as error:
        return error.reason
    return "" if not document.is_ready or is_as_written(content) else "it was changed after it was written"


def check_map_model(view: MapView, label: str) -> Iterator[Finding]:
    """Check what a model has once: its table of positions, and the sums of its scores."""
    yield from check_table(partial(view.positions, label), label)
    content = view.scores(label)
    if content is not None and not _is_archive(content):
        key = view.scores_key(label)
        damage = Damage(key, "it is cut short or garbled; the scores then count from the next block on", Remedy.REMOVE)
        yield Finding(damage, lambda _: view.location.remove(key))


def _is_archive(content: bytes) -> bool:
    try:
        return zipfile.ZipFile(io.BytesIO(content)).testzip() is None
    except (zipfile.BadZipFile, EOFError, OSError):
        return False


def check_group(view: MapView, label: str, group: MapGroup, *, counts: Counter[tuple[str, str]]) -> Iterator[Finding]:
    """Check the coordinates of a group, then block by block all that was written, then what should not be there."""
    path, location = f"{label}/{group.group}", view.location
    yield from _check_coords(view, path, group)
    files = location.keys(path)
    covered: set[tuple[int, int]] = set()  # the coverage is of no span: it is checked with the first that is written
    for time in range(len(view.spans)):
        for at in view.asked(label, group.group, time):
            block = view.block(BlockKey(label, group.group, time, *at))
            if files.isdisjoint(map(block.file, (block.layout.status, block.layout.checksum))):
                continue
            is_first = at not in covered
            covered.add(at)
            finding, is_checked = _check_block(block, files, with_coverage=is_first)
            counts[_CHECKED, label] += is_checked
            if finding is not None:
                yield finding
    asked = {time: view.asked(label, group.group, time) for time in range(len(view.spans))}
    for one in view.layout(label).fields:
        for key in sorted(key for key in files if key.startswith(f"{path}/{one.name}/c/")):
            numbers = key.rpartition("/c/")[2].split("/")
            if all(map(str.isdecimal, numbers)) and not _belongs(one, list(map(int, numbers)), asked):
                yield Finding(
                    Damage(key, "it belongs to no block that was asked for", Remedy.REMOVE),
                    partial(_removed, view, key),
                )


def _belongs(one: Field, numbers: list[int], asked: dict[int, Any]) -> bool:
    at = (numbers[-2], numbers[-1])
    return any(at in blocks for time, blocks in asked.items() if one.name == COVERAGE or time == numbers[0])


def _removed(view: MapView, key: str, _: Location) -> None:
    """Remove a file for good, which the fence would not do on an object store; no block needs it."""
    view.location.remove(key)


def _check_coords(view: MapView, path: str, group: MapGroup) -> Iterator[Finding]:
    expected = {name: group.axis(name) for name in ("x", "y")}
    days = [[np.datetime64(span[at], "D").astype("int64") for span in view.spans] for at in (0, 1)]
    for name, values in (expected | dict(zip(("time", "time_end"), map(np.asarray, days), strict=True))).items():
        try:
            is_right = np.array_equal(np.asarray(view.array(f"{path}/{name}")[...]), values)
        except (ValueError, RuntimeError, KeyError, EOFError):
            is_right = False
        if not is_right:
            mend = partial(make_coords, path=path, group=group, spans=view.spans)
            yield Finding(Damage(f"{path}/{name}", "it is not what its group says", Remedy.REBUILD), mend)
            return  # all four are made again


def _check_block(block: StoredBlock, files: AbstractSet[str], *, with_coverage: bool) -> tuple[Finding | None, bool]:
    """Compare a block with its checksum; return what is wrong, and whether it could be compared."""
    where = block.file(block.layout.status)
    try:
        code = int(block.read(block.layout.status))
    except StoreError as error:
        return _reset(block, where, error.reason, is_status_lost=True), False
    if code not in _CODES:
        return _reset(block, where, f"there is no status {code}"), False
    values, faults = _read(block, code, files, with_coverage=with_coverage)
    if faults:  # what is pending is written again, whatever is there
        return (_reset(block, *faults[0]) if code != Status.PENDING else None), False
    recorded = int(values.pop(block.layout.checksum.name))
    if code == Status.PENDING:
        is_whole = recorded and any(recorded == block.checksum(values, one) for one in _CODES if one != code)
        reason = "the block was written, but its status was not, or it is lost"
        return (_reset(block, where, reason) if is_whole else None), False
    is_right = recorded == block.checksum(values, code)
    return (None if is_right else _reset(block, _named(block), "what is stored was not written so")), True


def _read(
    block: StoredBlock, code: int, files: AbstractSet[str], *, with_coverage: bool
) -> tuple[dict[str, np.ndarray[Any, Any]], list[tuple[str, str]]]:
    """Read the arrays that the checksum is of, and itself; list the files that are missing or cannot be read."""
    values, faults = {}, []
    for one in (*block.layout.data_fields, block.layout.checksum):
        if one.name == COVERAGE and not with_coverage:
            continue
        if code in EMBEDDED and one.name in _WRITTEN and block.file(one) not in files:
            faults.append((block.file(one), "it is missing"))
            continue
        try:
            values[one.name] = block.read(one)
        except StoreError as error:
            faults.append((block.file(one), error.reason))
    values.pop(COVERAGE, None)
    return values, faults


def _named(block: StoredBlock) -> str:
    label, group, time, row, col = block.key
    return f"{label}/{group} span {time}, row {row}, column {col}"


def _reset(block: StoredBlock, where: str, reason: str, *, is_status_lost: bool = False) -> Finding:
    def mend(inside: Location) -> None:
        block.reset(is_status_lost=is_status_lost, location=inside)

    return Finding(Damage(where, reason, Remedy.RECOMPUTE, 1), mend, block.fence)


def lost_blocks(view: MapView, label: str) -> Iterator[Finding]:
    """Find blocks with vectors whose file is missing; files are listed, not read."""
    for group in view.groups(label):
        statuses = view.statuses(label, group.group)
        files = view.location.keys(f"{label}/{group.group}/embedding")
        for time, by_block in statuses.items():
            for at, status in by_block.items():
                if status in EMBEDDED:
                    key = f"{label}/{group.group}/embedding/c/{time}/0/{at[0]}/{at[1]}"
                    if key not in files:
                        yield _reset(view.block(BlockKey(label, group.group, time, *at)), key, "it is missing")
