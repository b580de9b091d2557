"""Maps in a store: what is written is read back where it lies, by our own reader and by others' programs."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  it adds .rio
import xarray as xr
import zarr
from zarr.storage import MemoryStore

from rs_embed_dask.errors import StoreError, StoreMismatchError
from rs_embed_dask.maps.lattice import lattice_for
from rs_embed_dask.specs.ground import WGS84, project
from rs_embed_dask.store import Status, Store
from rs_embed_dask.store.export.preview import build_preview
from rs_embed_dask.store.map_blocks import BlockSet
from rs_embed_dask.store.map_layout import Asked, BlockKey, MapLayout
from rs_embed_dask.store.map_reader import open_map
from rs_embed_dask.store.map_store import MapStore
from tests.store.faults import CrashedError, crash_at, crashes
from tests.store.map_samples import (
    BYTES,
    HALF,
    LAYOUTS,
    NEXT,
    REQUEST,
    SIDE,
    TINY,
    TOKEN_M,
    YEAR,
    assert_same_block,
    block_content,
    field,
    fill_map,
    group_of,
    make_map,
    result_of,
    square,
)
from tests.store.samples import make_store

KEY = BlockKey("tiny", "utm31", 0, 82, 10)


def files(path):
    """List what a map holds; the locks of writers are no part of it."""
    listed = sorted(one.relative_to(path).as_posix() for one in path.rglob("*") if one.is_file())
    return [name for name in listed if not name.startswith(".lease/")]


def test_arrays_span_the_zone_and_hold_files_for_blocks_only(tmp_path):
    store = make_map(tmp_path / "m")
    fill_map(store)
    lattice = lattice_for("utm31", TOKEN_M, SIDE)
    assert store.array("tiny/utm31/embedding").shape == (1, 3, *lattice.shape)
    written = files(tmp_path / "m" / "tiny" / "utm31" / "embedding" / "c")
    assert written == [f"0/0/{row}/{col}" for row in (82, 83) for col in (10, 11)]
    assert files(tmp_path / "m" / "tiny" / "utm31" / "reason") == ["zarr.json"]
    assert store.counts() == {"tiny": {Status.OK: 4}}


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda one: one.dtype)
def test_what_is_written_is_read_back_where_it_lies(tmp_path, layout):
    store = make_map(tmp_path / "m", layouts=[layout], blocks=BlockSet.of([(82, 10), (84, 11)]))
    fill_map(store)
    tree = open_map(tmp_path / "m")
    node = tree[layout.label]["utm31"]
    assert node.embedding.dims == ("time", "dim", "y", "x")
    assert node.sizes["y"] == 3 * SIDE
    assert node.sizes["x"] == 2 * SIDE
    assert node.embedding.dtype == np.float32
    scale = 0.5 if layout.dtype == "int8" else 1
    lattice = lattice_for("utm31", TOKEN_M, SIDE)
    for row, col in ((328, 40), (339, 47)):
        (x,), (y,) = (
            lattice.grid(lattice.rect(0, 0)._replace(top=row, left=col, bottom=row + 1, right=col + 1)).xs,
            (lattice.origin[1] - (row + 0.5) * TOKEN_M,),
        )
        token = node.embedding.sel(x=x, y=y, time="2021-01-01").values
        np.testing.assert_array_equal(token[:2], [row % 100 * scale, col % 100 * scale])
        assert float(node.valid_fraction.sel(x=x, y=y).squeeze()) == 0.75
    assert np.isnan(node.embedding.isel(time=0, y=0, x=-1)).all(), "a block that nobody asked for"
    assert node.status.sel(block_row=84, block_column=11).values.tolist() == [Status.OK]
    assert node.first_date.isel(time=0, y=0, x=0).values == np.datetime64("2021-04-23")
    assert (node.n_obs.isel(time=0)[:4, :4] == 12).all()


@pytest.fixture
def filled(tmp_path):
    store = make_map(tmp_path / "m", layouts=(TINY, HALF), spans=(YEAR, NEXT))
    fill_map(store)
    return tmp_path / "m"


def test_plain_xarray_opens_it_with_coordinates_and_crs(filled):
    with xr.open_zarr(filled, group="tiny/utm31") as data:
        assert set(data.coords) == {"x", "y", "time", "time_end", "spatial_ref"}
        lattice = lattice_for("utm31", TOKEN_M, SIDE)
        x, y = (float(one) for one in project(WGS84, lattice.crs, 4.0, 55.0))
        row, col = lattice.index(x, y)
        near = data.sel(x=x, y=y, method="nearest")
        assert (float(near.x), float(near.y)) == (
            lattice.origin[0] + (col + 0.5) * TOKEN_M,
            lattice.origin[1] - (row + 0.5) * TOKEN_M,
        )
        first = data.isel(y=slice(328, 332), x=slice(40, 44), time=1).embedding
        np.testing.assert_array_equal(first.values, field(TINY, KEY._replace(time=1)))
        assert data.time.values.astype("M8[D]").tolist() == [YEAR[0], NEXT[0]]
        assert data.time_end.values.astype("M8[D]").tolist() == [YEAR[1], NEXT[1]]
        assert data.rio.crs.to_epsg() == 32631
    with xr.open_datatree(filled, engine="zarr", chunks={}) as tree:
        assert set(tree.children) == {"tiny", "half"}
        assert tree["half"]["utm31"].embedding.dtype == np.float16


def test_means_of_what_is_read_do_not_overflow_in_any_precision(tmp_path):
    store = make_map(tmp_path / "m", layouts=LAYOUTS, blocks=square(82, 10, 1, 1))
    for layout in LAYOUTS:
        key = BlockKey(layout.label, "utm31", 0, 82, 10)
        number = 100 if layout is BYTES else 40_000
        store.write_block(key, result_of(layout, key, embedding=np.full((layout.dim, 4, 4), number, layout.dtype)))
    vectors = {layout.label: open_map(tmp_path / "m")[layout.label]["utm31"].embedding for layout in LAYOUTS}
    assert {one.dtype for one in vectors.values()} == {np.dtype("float32")}
    assert {one.dims for one in vectors.values()} == {("time", "dim", "y", "x")}
    assert all(one.chunks is not None and one.attrs["grid_mapping"] == "spatial_ref" for one in vectors.values())
    means = {label: float(one.mean()) for label, one in vectors.items()}
    assert means == {"tiny": 40_000, "half": 40_000, "bytes": 50}  # 32 times 40,000 is far above 65,504


# Rioxarray 0.19 multiplies affines in a way that affine 3 announces to leave.
@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
def test_rioxarray_and_rasterio_find_it_on_the_ground(filled, tmp_path):
    node = open_map(filled)["tiny"]["utm31"].ds
    image = node.embedding.isel(time=0)
    lattice = lattice_for("utm31", TOKEN_M, SIDE)
    top, left = lattice.origin[1] - 328 * TOKEN_M, lattice.origin[0] + 40 * TOKEN_M
    assert image.rio.crs.to_epsg() == 32631
    assert image.rio.transform().to_gdal() == (left, TOKEN_M, 0.0, top, 0.0, -TOKEN_M)
    image.rio.to_raster(tmp_path / "map.tif")
    with rasterio.open(tmp_path / "map.tif") as tif:
        x, y = left + 5.5 * TOKEN_M, top - 2.5 * TOKEN_M
        (sample,) = tif.sample([(x, y)])
        np.testing.assert_array_equal(sample, [(330) % 100, 45 % 100, 0])
    assert node.attrs["spatial:transform"] == [TOKEN_M, 0.0, left, 0.0, -TOKEN_M, top]
    assert node.attrs["spatial:shape"] == [8, 8]


def test_conventions_are_named_as_they_are_registered(tmp_path):
    make_map(tmp_path / "m", layouts=(TINY, BYTES), groups=("utm31", "utm32"))
    attrs = json.loads((tmp_path / "m/tiny/utm31/zarr.json").read_text())["attributes"]
    assert [one["name"] for one in attrs["zarr_conventions"]] == ["geoemb:", "proj:", "spatial"]
    lattice = lattice_for("utm31", TOKEN_M, SIDE)
    known = {
        "geoemb:type": "chip",
        "geoemb:dimensions": 3,
        "geoemb:data_type": "float32",
        "geoemb:chip_layout": {"layout_type": "regular_grid", "chip_size": [8, 8]},
        "proj:code": "EPSG:32631",
        "spatial:dimensions": ["y", "x"],
        "spatial:shape": list(lattice.shape),
        "spatial:transform": [TOKEN_M, 0.0, lattice.origin[0], 0.0, -TOKEN_M, lattice.origin[1]],
    }
    assert {name: attrs[name] for name in known} == known
    model = json.loads((tmp_path / "m/bytes/zarr.json").read_text())["attributes"]
    assert model["geoemb:spatial_layout"] == "utm_zones"
    assert model["geoemb:quantization"] == {
        "method": "per_pixel_scale",
        "original_dtype": "float32",
        "quantized_dtype": "int8",
        "scale": {"type": "array", "array_name": "scale"},
    }
    mapping = json.loads((tmp_path / "m/tiny/utm31/spatial_ref/zarr.json").read_text())["attributes"]
    assert mapping["grid_mapping_name"] == "transverse_mercator"
    assert mapping["GeoTransform"].split()[0] == str(lattice.origin[0])
    assert json.loads((tmp_path / "m/tiny/utm31/embedding/zarr.json").read_text())["attributes"]["grid_mapping"]


def test_large_blocks_are_shards_of_small_chunks(tmp_path):
    layout = MapLayout("pixels", dim=2, token_m=10.0, block=128, dtype="float16")
    group = group_of("utm31", layout)
    store = MapStore.create(tmp_path / "m", [Asked(layout, (YEAR,), {group: square(900, 60, 1, 1)})], request=REQUEST)
    array = store.array("pixels/utm31/embedding")
    assert (array.chunks, array.shards) == ((1, 2, 64, 64), (1, 2, 128, 128))
    key = BlockKey("pixels", "utm31", 0, 900, 60)
    values = np.random.default_rng(0).normal(size=(2, 128, 128)).astype("float16")
    store.write_block(key, result_of(layout, key, embedding=values))
    np.testing.assert_array_equal(array[0, :, 900 * 128 : 901 * 128, 60 * 128 : 61 * 128], values)
    assert files(tmp_path / "m/pixels/utm31/embedding/c") == ["0/0/900/60"]


def test_a_neighbouring_region_moves_nothing(tmp_path):
    path = tmp_path / "m"
    store = make_map(path)
    fill_map(store)
    before = {name: (path / name).read_bytes() for name in files(path) if "/c/" in name}
    old = block_content(store, KEY)
    more = {group_of(): square(82, 11, 3, 2), group_of("utm32"): square(82, 5, 1, 1)}
    store.top_up([Asked(TINY, (YEAR,), more)], request=REQUEST | {"region": "larger"})
    assert {(group.group, time): list(blocks) for group, time, blocks in MapStore.open(path).pending("tiny")} == {
        ("utm31", 0): [(82, 12), (83, 12), (84, 11), (84, 12)],
        ("utm32", 0): [(82, 5)],
    }
    fill_map(store)
    assert {name: (path / name).read_bytes() for name in before} == before
    assert_same_block(block_content(MapStore.open(path), KEY), old)
    assert store.request["region"] == "larger"
    tree = open_map(path)["tiny"]
    assert set(tree.children) == {"utm31", "utm32"}
    assert dict(tree["utm31"].sizes) | {"y": 12, "x": 12} == dict(tree["utm31"].sizes)
    assert tree["utm32"].ds.rio.crs.to_epsg() == 32632


def test_another_span_and_another_model_are_added(tmp_path):
    path = tmp_path / "m"
    store = make_map(path)
    fill_map(store)
    blocks = square(82, 10)
    store.top_up([Asked(one, (YEAR, NEXT), {group_of("utm31", one): blocks}) for one in (TINY, HALF)])
    assert [(time, len(part)) for _, time, part in store.pending("tiny")] == [(1, 4)]
    assert [(time, len(part)) for _, time, part in store.pending("half")] == [(0, 4), (1, 4)]
    again = MapStore.open(path, "r+")
    fill_map(again)
    assert list(again.pending("half")) == []
    np.testing.assert_array_equal(block_content(again, KEY._replace(time=1))["embedding"][2], 1.0)
    tree = open_map(path)
    assert tree["half"]["utm31"].sizes["time"] == 2
    assert [int(one) for one in tree["tiny"]["utm31"].embedding[:, 2, 0, 0]] == [0, 1]


def test_a_zone_added_to_two_models_and_their_previews_are_listed_for_every_reader(tmp_path):
    path = tmp_path / "m"
    store = make_map(path, layouts=(TINY, HALF))
    fill_map(store)
    blocks = square(82, 10)
    store.top_up([Asked(one, (YEAR,), {group_of("utm32", one): blocks}) for one in (TINY, HALF)])
    fill_map(MapStore.open(path, "r+"))
    build_preview(path)
    root = zarr.open_group(str(path), mode="r", use_consolidated=True)
    for label in ("tiny", "half"):
        assert set(root[label].group_keys()) == {"utm31", "utm32", "preview"}
        assert set(root[f"{label}/preview"].group_keys()) == {"utm31", "utm32"}
        assert set(open_map(path)[label].children) == {"utm31", "utm32"}


def test_what_was_asked_in_one_span_is_not_asked_in_another(tmp_path):
    store = make_map(tmp_path / "m")
    store.top_up([Asked(TINY, (NEXT,), {group_of(): square(85, 10, 1, 1)})])
    store = MapStore.open(tmp_path / "m")
    assert list(store.asked("tiny", "utm31", 0)) == list(square(82, 10))
    assert list(store.asked("tiny", "utm31", 1)) == [(85, 10)]


@pytest.mark.parametrize(
    "changed",
    [replace(TINY, dim=4), replace(TINY, dtype="float16"), replace(TINY, token_m=5_000.0), replace(TINY, block=8)],
)
def test_a_model_of_another_shape_is_refused(tmp_path, changed):
    store = make_map(tmp_path / "m")
    with pytest.raises(StoreMismatchError, match="there and"):
        store.top_up([Asked(changed, (YEAR,), {group_of("utm31", changed): square(0, 0)})])
    assert MapStore.open(tmp_path / "m").layout("tiny") == TINY


def test_a_group_that_would_move_is_refused(tmp_path):
    store = make_map(tmp_path / "m")
    moved = replace(group_of(), origin=(0.0, 0.0))
    with pytest.raises(StoreMismatchError, match="origin is"):
        store.top_up([Asked(TINY, (YEAR,), {moved: square(0, 0)})])


def test_a_crash_between_data_and_status_leaves_the_block_pending(tmp_path):
    store = make_map(tmp_path / "m", blocks=square(82, 10, 1, 1))
    with crash_at(1000) as passed:
        store.write_block(KEY, result_of(TINY, KEY))
    assert passed[-1] == "set tiny/utm31/status/c/0/82/10"
    assert sum("status" in one for one in passed) == 1
    store = make_map(tmp_path / "n", blocks=square(82, 10, 1, 1))
    with pytest.raises(CrashedError), crash_at(len(passed) - 1):
        store.write_block(KEY, result_of(TINY, KEY))
    seen = MapStore.open(tmp_path / "n")
    assert (tmp_path / "n/tiny/utm31/embedding/c/0/0/82/10").exists()
    assert seen.block(KEY).status == Status.PENDING
    assert [list(blocks) for _, _, blocks in seen.pending("tiny")] == [[(82, 10)]]
    assert "utm31" not in open_map(tmp_path / "n")["tiny"].children


CHANGES = {
    "again": {"embedding": np.full((3, SIDE, SIDE), 7, "float32")},
    "to no data": {"status": Status.NO_DATA, "embedding": None, "valid_fraction": 0.0, "reason": "no scene there"},
    "to a failure": {"status": Status.READ_FAILED, "embedding": None, "reason": "HTTP 503"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_block_is_whole_or_pending_after_a_crash_at_every_step(change):
    other = make_map(MemoryStore(), blocks=square(82, 10, 1, 1))
    fill_map(other)
    old = block_content(other, KEY)
    other.write_block(KEY, result_of(TINY, KEY, **CHANGES[change]))
    new = block_content(other, KEY)
    assert not np.array_equal(old["embedding"], new["embedding"], equal_nan=True)
    place = MemoryStore()
    make_map(place, blocks=square(82, 10, 1, 1))
    store = MapStore.open(place, "r+")
    fill_map(store)
    steps = 0
    for steps, _ in enumerate(crashes(lambda: store.write_block(KEY, result_of(TINY, KEY, **CHANGES[change])))):
        now = block_content(MapStore.open(place), KEY)
        if now["status"] == Status.PENDING:
            continue
        assert_same_block(now, old if now["status"] == old["status"] and steps == 0 else new)
    assert steps >= 2
    assert_same_block(block_content(MapStore.open(place), KEY), new)


def test_failed_blocks_are_taken_up_again_and_others_are_not(tmp_path):
    store = make_map(tmp_path / "m")
    fates = [Status.OK, Status.NO_DATA, Status.READ_FAILED]
    for (row, col), fate in zip(square(82, 10), fates, strict=False):
        key = KEY._replace(row=row, col=col)
        values = result_of(TINY, key).embedding if fate == Status.OK else None
        store.write_block(key, result_of(TINY, key, status=fate, embedding=values, reason=fate.words))
    assert [list(blocks) for *_, blocks in store.pending("tiny")] == [[(83, 10), (83, 11)]]
    assert [list(blocks) for *_, blocks in store.pending("tiny", only={Status.READ_FAILED})] == [[(83, 10)]]
    assert store.counts()["tiny"] == {Status.PENDING: 1, Status.OK: 1, Status.NO_DATA: 1, Status.READ_FAILED: 1}
    assert store.statuses("tiny", "utm31")[0][82, 11] == Status.NO_DATA
    assert str(store.block(KEY._replace(row=83)).read(TINY.data_fields[-1])) == "read failed"


def test_the_making_of_a_map_that_is_cut_short_is_never_taken_for_one():
    place = MemoryStore()
    count = 0
    for count, _ in enumerate(crashes(lambda: make_map(place), stride=3), start=1):  # noqa: B007
        assert not MapStore.exists(place)
        with pytest.raises(StoreError, match=r"cut short|no store"):
            MapStore.open(place)
    assert count > 8
    fill_map(MapStore.open(place, "r+"))


def test_a_top_up_that_is_cut_short_changes_nothing():
    place = MemoryStore()
    fill_map(make_map(place))
    more = [
        Asked(TINY, (YEAR, NEXT), {group_of(): square(84, 10)}),
        Asked(HALF, (NEXT,), {group_of("utm32", HALF): square(84, 5)}, np.ones((2, 3, 3), "float32")),
    ]
    said = {"positions": {"half": {"removed": True}}}
    before, after = (("tiny",), (YEAR,)), (("tiny", "half"), (YEAR, NEXT))
    states = []
    for _ in crashes(lambda: MapStore.open(place, "r+").top_up(more, receipt=said), stride=3):
        store = MapStore.open(place)
        states.append((store.labels, store.spans))
        assert len(list(store.pending("tiny"))) == (0 if states[-1] == before else 2)
        assert store.receipt == ({} if states[-1] == before else said)
    assert set(states) <= {before, after}
    assert states.count(after) <= 1  # cut short after the root document was there, before its copy was
    store = MapStore.open(place, "r+")
    fill_map(store)
    assert {label: sum(counts.values()) for label, counts in store.counts().items()} == {"tiny": 4 + 8, "half": 4}
    assert open_map(place)["half"]["utm32"].sizes["time"] == 2
    assert (store.positions("half") == 1).all()
    assert store.receipt == said


def test_zarr_finds_every_array_of_two_models_one_of_which_has_a_table(tmp_path):
    store = make_map(tmp_path / "m", layouts=(TINY, HALF))
    fill_map(store)
    store.keep_positions("tiny", np.ones((3, 4, 4), "float32"))
    root = zarr.open_group(tmp_path / "m", mode="r", use_consolidated=True)
    assert {name for name, _ in root["tiny"].members()} == {"position_mean", "utm31"}
    assert set(open_map(tmp_path / "m")["half"].children) == {"utm31"}
    assert np.isfinite(open_map(tmp_path / "m")["tiny/utm31"].embedding.values).all()


def test_a_table_of_positions_is_kept_and_found(tmp_path):
    store = make_map(tmp_path / "m")
    assert store.positions("tiny") is None
    table = np.arange(3 * 2 * 2, dtype="float32").reshape(3, 2, 2)
    store.keep_positions("tiny", table, share=0.75, windows=300)
    store.top_up([Asked(TINY, (NEXT,), {group_of(): square(82, 10)})])
    fill_map(store)
    again = MapStore.open(tmp_path / "m")
    np.testing.assert_array_equal(again.positions("tiny"), table)
    assert again.array("tiny/position_mean").attrs["share"] == 0.75
    np.testing.assert_array_equal(open_map(tmp_path / "m")["tiny"].position_mean, table)


def test_coverage_grows_without_touching_vectors(tmp_path):
    """Also by a writer whose block another has finished, and never by one that knows a smaller region."""
    store = make_map(tmp_path / "m")
    other = np.full((3, SIDE, SIDE), 7, "float32")
    west, east, all_of_it = (np.zeros((SIDE, SIDE), "float32") for _ in range(3))
    west[:, : SIDE // 2], east[:, SIDE // 2 :], all_of_it[:] = 0.25, 0.5, 0.75
    store.write_block(KEY, result_of(TINY, KEY, coverage=west))
    before = block_content(store, KEY)
    del before["coverage"]
    for values, expected in ((east, west + east), (west, west + east), (all_of_it, all_of_it)):
        for write in (
            lambda values=values: store.block(KEY).write_coverage(values),
            lambda values=values: store.finish_block(KEY, result_of(TINY, KEY, embedding=other, coverage=values)),
        ):
            write()
            after = block_content(MapStore.open(tmp_path / "m"), KEY)
            np.testing.assert_array_equal(after.pop("coverage"), expected)
            assert_same_block(after, before)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"embedding": np.zeros((2, SIDE, SIDE), "float32")}, "shape"),
        ({"embedding": np.zeros((3, SIDE, SIDE), "float64")}, "type float64"),
        ({"n_obs": np.zeros(5)}, "shape"),
    ],
)
def test_a_result_that_does_not_fit_is_refused_before_anything_is_written(tmp_path, changes, reason):
    store = make_map(tmp_path / "m")
    before = files(tmp_path / "m")
    with pytest.raises(StoreError, match=reason):
        store.write_block(KEY, result_of(TINY, KEY, **changes))
    assert files(tmp_path / "m") == before


@pytest.mark.parametrize("at", [{"row": -1}, {"row": 10**6}, {"col": 10**6}, {"time": 1}, {"group": "utm32"}])
def test_a_block_that_does_not_exist_is_refused(tmp_path, at):
    store = make_map(tmp_path / "m")
    with pytest.raises(StoreError, match=r"block|span|group"):
        store.write_block(KEY._replace(**at), result_of(TINY, KEY))


def test_places_and_maps_are_not_mixed_up(tmp_path):
    make_map(tmp_path / "m")
    make_store(tmp_path / "p")
    with pytest.raises(StoreError, match="open it with open_map"):
        Store.open(tmp_path / "m")
    with pytest.raises(StoreError, match="open it with open_store"):
        MapStore.open(tmp_path / "p")
    with pytest.raises(StoreError, match="open_store"):
        make_map(tmp_path / "p")
    with pytest.raises(StoreError, match="finished store"):
        make_map(tmp_path / "m")


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"dtype": "float64"}, "float16, float32 or int8"),
        ({"block": 100}, "whole chunks"),
        ({"block": 192, "dim": 4096}, "more than 256"),
        ({"label": "a/b"}, "cannot name a group"),
    ],
)
def test_a_layout_that_cannot_be_is_refused(wrong, reason):
    with pytest.raises(StoreError, match=reason):
        replace(HALF, **wrong)


def test_sets_of_blocks_are_sets():
    rng = np.random.default_rng(5)
    for count in (0, 3, 20, 60):
        first, second = ({(int(r), int(c)) for r, c in rng.integers(0, 9, (count, 2))} for _ in range(2))
        one, two = BlockSet.of(first), BlockSet.of(second)
        assert list(one) == sorted(first)
        assert len(one) == len(first)
        assert set(one | two) == first | second
        assert set(one - two) == first - second
        assert BlockSet.from_text(one.to_text()) == one
        for at in itertools.product(range(9), repeat=2):
            assert (at in one) == (at in first)
    with pytest.raises(StoreError, match="no list of blocks"):
        BlockSet.from_text("7:x-9")
