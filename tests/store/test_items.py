"""Items as columns: their keys, their rows, and what is new among them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import shapely
import zarr
from hypothesis import given, settings, strategies as st
from zarr.storage import MemoryStore

from rs_embed_dask.specs import PointBuffer, TemporalSpec
from rs_embed_dask.specs.columns import PlaceList
from rs_embed_dask.specs.places import place_column
from rs_embed_dask.store import Item, ItemColumns
from rs_embed_dask.store.items import blocks, matched
from rs_embed_dask.store.layout import ITEM_FIELDS, Field
from rs_embed_dask.store.shards import encoded_shard, number_rows, text_rows
from tests.store.samples import YEAR, make_items, mixed_items


def reference(keys, items):
    """The comparison written as one reads it."""
    left, new = Counter(keys), []
    for item in items:
        if left[item.key] > 0:
            left[item.key] -= 1
        else:
            new.append(item.id)
    return new, sum(left.values())


def row(number):
    return Item(number, PointBuffer(lon=float(number), lat=1, buffer_m=10), YEAR, id=str(number))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=12), st.lists(st.integers(0, 7), max_size=12))
def test_what_is_new_is_what_a_count_says(stored, asked):
    keys = [row(number).key for number in stored]
    items = [row(number) for number in asked]
    items = [Item(place, one.spatial, one.temporal, f"{one.id} {place}") for place, one in enumerate(items)]
    match = matched(np.array(keys, dtype="uint64"), items)
    new, absent = reference(keys, items)
    assert [item.id for item in match.new] == new
    assert (match.present, match.absent) == (len(items) - len(new), absent)


def test_columns_are_the_items():
    for items in (make_items(5), mixed_items()):
        columns = ItemColumns.of(items)
        assert list(columns) == items
        assert columns.keys.tolist() == [item.key for item in items]
        assert list(columns.take(np.array([3, 1]))) == [
            Item(place, items[old].spatial, items[old].temporal, items[old].id) for place, old in enumerate((3, 1))
        ]
    points = place_column(np.array([[4.0, 50.0], [5.0, 51.0]]), buffer_m=260)
    spans = [YEAR, TemporalSpec.year(2022)]
    columns = ItemColumns(points, spans)
    assert columns.keys.tolist() == [item.key for item in columns]
    assert columns.keys.tolist() == ItemColumns(PlaceList(list(points)), spans).keys.tolist()


LATER = TemporalSpec.year(2022)


@settings(max_examples=60, deadline=None)
@given(*[st.lists(st.tuples(st.integers(0, 2), st.sampled_from([YEAR, LATER])), min_size=1, max_size=3)] * 2)
def test_columns_have_one_digest_if_they_have_the_same_keys(first, second):
    one, two = (
        ItemColumns(place_column(np.array([[x, 1.0] for x, _ in rows]), buffer_m=260), [span for _, span in rows])
        for rows in (first, second)
    )
    assert (one.digest == two.digest) == (one.keys.tolist() == two.keys.tolist())


def test_a_digest_is_of_every_part_of_the_places():
    points, box = np.array([[500_000.0, 5_600_000.0]] * 2), shapely.box(0, 0, 1, 1)
    columns = [
        place_column(points, 32631, buffer_m=260),
        place_column(points, 32631, buffer_m=261),
        place_column(points, 32632, buffer_m=260),
        place_column(points * [[1], [2]], 32631, buffer_m=260),
        place_column(np.array([box] * 2)),
        place_column(np.array([box] * 2), 32631),
        place_column(np.array([box, shapely.box(0, 0, 1, 1.5)])),
    ]
    digests = [ItemColumns(column, [YEAR] * 2).digest for column in columns]
    assert len(set(digests)) == len(columns)
    assert all(len(digest) == 64 for digest in digests)
    again = ItemColumns(place_column(points.copy(), 32631, buffer_m=260.0), [YEAR, TemporalSpec.year(2021)])
    assert again.digest == digests[0]
    assert ItemColumns.of(make_items(2)).digest == "", "their texts cost as much as their keys"


def test_blocks_are_the_items_in_order():
    items = make_items(10)
    for source in (items, iter(items), ItemColumns.of(items)):
        cut = list(blocks(source, iter([4, 3, 3, 3])))
        assert [len(block) for block in cut] == [4, 3, 3]
        assert [item.id for block in cut for item in block] == [item.id for item in items]


VALUES = {
    "text": ["", "é", "a\nb" * 50],
    "number": [0, 1, 2**63 + 5],
    "day": ["2021-01-01", "NaT", "1969-12-31"],
}


def test_a_shard_is_what_zarr_reads():
    for field in (*ITEM_FIELDS, Field("float", dtype="float64")):
        name = "number" if field.dtype == "uint64" else field.kind
        values = field.encoded((VALUES[name] if name != "number" or field.dtype == "uint64" else [0, 1, 5]) * 3)
        dtype = str if field.kind == "text" else "int32" if field.kind == "day" else field.dtype
        store = MemoryStore()
        shape = {"shape": (len(values),), "chunks": (4,), "shards": (16,), "compressors": None}
        array = zarr.create_array(store, name="a", dtype=dtype, fill_value=field.fill_value, **shape)
        content = encoded_shard(field, values, chunk_rows=4, shard_rows=16)
        store._store_dict["a/c/0"] = zarr.core.buffer.default_buffer_prototype().buffer.from_bytes(content)
        np.testing.assert_array_equal(array[:], values)
        array[:] = values
        if field.kind == "number":
            for shard in (content, store._store_dict["a/c/0"].to_bytes()):
                rows = number_rows([shard], field.dtype, shard_chunks=4)
                assert rows is not None
                np.testing.assert_array_equal(rows[: len(values)], values)
            assert number_rows([None], field.dtype, shard_chunks=4) is None
            for damaged in (content[:-1], content[1:], content[:-4] + b"0000", b""):
                assert number_rows([damaged], field.dtype, shard_chunks=4) is None
        if field.kind == "text":
            for shard in (content, store._store_dict["a/c/0"].to_bytes()):
                assert text_rows([shard], shard_chunks=4, chunk_rows=4)[: len(values)].tolist() == values.tolist()
            for damaged in (None, content[:-1], content[1:], bytes(4) + content[4:], b""):
                assert text_rows([damaged], shard_chunks=4, chunk_rows=4) is None
