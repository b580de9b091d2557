"""What is shown of a map is what its store and `search` have, to the cell and to the pixel."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely

import rs_embed_dask as rs
from rs_embed_dask.analysis.exploration import NEGATIVE, POSITIVE, Exploration
from rs_embed_dask.analysis.pins import PinLook, PinTiles
from rs_embed_dask.errors import RsEmbedError, SpecError
from rs_embed_dask.maps.lattice import Rect
from rs_embed_dask.specs.ground import WGS84, project
from rs_embed_dask.store.export import web_tiles
from rs_embed_dask.store.export.fields import fields_of
from rs_embed_dask.store.export.preview import build_preview
from rs_embed_dask.store.export.web_tiles import MERCATOR, TILE_PX, WebTiles, tile_bounds
from rs_embed_dask.store.map_store import MapStore
from tests.analysis.samples import FLOAT, random_map, random_run
from tests.plot.ground import GROUND, lattice, make_ground, smooth

BORDER = {"utm31": [(5.4, 49.8), (5.98, 50.3)], "utm32": [(6.02, 49.8), (6.6, 50.3)]}


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """A map on both sides of 6 degrees east."""
    return make_ground(tmp_path_factory.mktemp("ground") / "map.zarr", BORDER)


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The same with a preview of two zooms, its first zoom in random colours."""
    path = make_ground(tmp_path_factory.mktemp("shown") / "map.zarr", BORDER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rs_embed_dask.store.export.preview._SMALLEST", 16)
        build_preview(path)
        random = np.random.default_rng(7)
        for group in BORDER:
            for zoom in "012":
                array = MapStore.open(path, "r+").array(f"ground/preview/{group}/{zoom}/rgb")
                array[...] = random.integers(1, 256, array.shape)
        yield path


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("maps") / "map.zarr")
    random_map(path, layouts=(FLOAT,))
    return path


def pixel(lon, lat, z):
    """The tile of a place, and the column and row of the place in it, as fractions."""
    (x,), (y,) = project(WGS84, MERCATOR, [lon], [lat])
    left, _, right, _ = tile_bounds(0, 0, z)
    _, _, _, top = tile_bounds(0, 0, z)
    across, down = (x - left) / (right - left), (top - y) / (right - left)
    return (int(across), int(down)), (across % 1 * TILE_PX, down % 1 * TILE_PX)


def pixels_of(png):
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning), rasterio.MemoryFile(png) as file:
        return file.open().read()


# --------------------------------------------------------------------------------------------------------------- tiles
def tiles_of(path, view=None):
    return WebTiles.of(fields_of(rs.open_map(path), span=0), view)


@pytest.mark.parametrize(("zoom", "z"), [(0, 9), (0, 5), (1, 3), (2, 2)])
def test_a_pixel_has_the_colour_of_the_preview_s_cell_at_its_middle(shown, zoom, z):
    view = MapStore.open(shown)
    width, _, left, _, _, top = rs.open_map(shown)["ground"]["utm31"].attrs["spatial:transform"]
    stored, side = np.asarray(view.array(f"ground/preview/utm31/{zoom}/rgb")[0]), width * 2**zoom
    (x, y), _ = pixel(5.7, 50.0, z)
    rgba = tiles_of(shown, view).rgba(x, y, z)
    west, _, east, north = tile_bounds(x, y, z)
    middles = (np.arange(TILE_PX) + 0.5) * (east - west) / TILE_PX
    lon, lat = project(MERCATOR, WGS84, *(one.ravel() for one in np.meshgrid(west + middles, north - middles)))
    own_x, own_y = project(WGS84, "EPSG:32631", lon, lat)
    rows, cols = np.floor((top - own_y) / side), np.floor((own_x - left) / side)
    inside = (rows >= 0) & (rows < stored.shape[1]) & (cols >= 0) & (cols < stored.shape[2]) & (lon < 5.9)
    assert inside.sum() > 10
    found = rgba.reshape(4, -1)[:, inside]
    np.testing.assert_array_equal(found[:3], stored[:, rows[inside].astype(int), cols[inside].astype(int)])
    assert (found[3] == 255).all()


def test_colours_that_are_made_are_those_of_a_preview(ground, tmp_path):
    other = make_ground(tmp_path / "map.zarr", BORDER)
    build_preview(other)
    stored, made = tiles_of(other, MapStore.open(other)), tiles_of(ground)
    for z in (5, 9):
        tile, _ = pixel(6.0, 50.0, z)
        np.testing.assert_array_equal(stored.rgba(*tile, z), made.rgba(*tile, z))


def test_one_bright_token_lies_where_its_corners_are_within_a_pixel(tmp_path):
    path = make_ground(tmp_path / "map.zarr", BORDER)
    build_preview(path)
    width, _, left, _, _, top = rs.open_map(path)["ground"]["utm31"].attrs["spatial:transform"]
    for row in range(20, 30):
        steps = itertools.product((0, 1), repeat=2)
        x, y = np.transpose([(left + width * (12 + across), top - width * (row + down)) for across, down in steps])
        places = [pixel(*one, 11) for one in zip(*project("EPSG:32631", WGS84, x, y), strict=True)]
        if len({tile for tile, _ in places}) == 1:  # all corners are in one tile
            break
    array = MapStore.open(path, "r+").array("ground/preview/utm31/0/rgb")
    array[...] = 1
    array[0, :, row, 12] = 250
    cols, rows = np.transpose([at for _, at in places])
    picture = tiles_of(path, MapStore.open(path)).rgba(*places[0][0], 11)[0]
    bright_rows, bright_cols = np.nonzero(picture == 250)
    quad = shapely.Polygon(np.column_stack([cols, rows])[[0, 1, 3, 2]])
    known = (bright_cols.min(), bright_rows.min(), bright_cols.max() + 1, bright_rows.max() + 1)
    np.testing.assert_allclose(known, quad.bounds, atol=1)
    assert len(bright_rows) == pytest.approx(quad.area, abs=quad.length)
    inside = shapely.contains_xy(quad.buffer(-1), bright_cols + 0.5, bright_rows + 0.5)
    assert shapely.contains_xy(quad.buffer(1), bright_cols + 0.5, bright_rows + 0.5).all()
    assert inside.sum() > 0.9 * len(bright_rows)


def test_where_there_is_nothing_there_is_no_picture_and_a_png_is_the_tile(ground):
    tiles = tiles_of(ground)
    assert tiles.rgba(0, 0, 3) is None
    assert tiles.png(0, 0, 3) is None
    tile, _ = pixel(6.0, 50.0, 6)
    rgba = tiles.rgba(*tile, 6)
    assert set(np.unique(rgba[3])) == {0, 255}
    np.testing.assert_array_equal(pixels_of(tiles.png(*tile, 6)), rgba)


def test_a_map_across_180_degrees_is_shown_on_both_sides(tmp_path):
    places = {"utm60": [(179.4, -17.0), (179.98, -16.6)], "utm01": [(-179.98, -17.0), (-179.4, -16.6)]}
    tiles = tiles_of(make_ground(tmp_path / "map.zarr", places))
    west, south, east, north = tiles.bounds
    assert (west, east) == (-180, 180)
    assert -18 < south < -16.9
    assert -16.7 < north < -16
    assert abs(abs(tiles.middle[0]) - 180) < 0.5
    assert tiles.size[0] < 3 / 360
    for lon in (179.7, -179.7):
        tile, (col, row) = pixel(lon, -16.8, 8)
        assert tiles.rgba(*tile, 8)[3, int(row), int(col)] == 255


def test_a_large_map_needs_a_preview(ground, monkeypatch):
    monkeypatch.setattr(web_tiles, "MOST_TOKENS", 1000)
    with pytest.raises(SpecError, match=r"tokens and no preview.*rs\.build_preview"):
        rs.explore(ground)


def test_pins_are_discs_of_their_colour_with_a_dark_ring():
    lon, lat = 6.1, 50.0
    tile, (col, row) = pixel(lon, lat, 9)
    looks = (PinLook(8.0, (10, 200, 30)), PinLook(11.0, None))
    pins = PinTiles(np.array([[lon, lat]] * 2), looks, (0, 0, 1, 1), (0, 0))
    rgba = pixels_of(pins.png(*tile, 9)).astype(int)
    away = np.hypot(*np.meshgrid(np.arange(TILE_PX) + 0.5 - col, np.arange(TILE_PX) + 0.5 - row))
    assert (rgba[:, away < 5] == [[10], [200], [30], [255]]).all()
    assert (rgba[:3, (away > 7) & (away < 7.4)].max(axis=0) < 10).all()
    assert (rgba[3, (away > 10) & (away < 10.4)] == 255).all()
    assert (rgba[3, away > 12.5] == 0).all()
    assert pins.png(tile[0] + 2, tile[1], 9) is None


# --------------------------------------------------------------------------------------------------------------- state
def explored(path, **options):
    return Exploration.of(rs.open_map(path), **options)


def test_a_click_gives_the_vector_and_the_layers_of_the_store(mapped):
    data = rs.open_map(mapped)["float"]["utm32"].to_dataset().isel(time=0).load()
    state = explored(mapped)
    for row, col in [(0, 0), (3, 6), (2, 1), (5, 2)]:
        x, y = float(data.x[col]), float(data.y[row])
        (lon,), (lat,) = project("EPSG:32632", WGS84, [x], [y])
        token = state.click(lon + 360, lat)  # on the next turn of the globe
        assert (token.place["group"], token.place["x"], token.place["y"]) == ("utm32", x, y)
        np.testing.assert_array_equal(token.vector, data.embedding.values[:, row, col])
        assert token.status == "ok"
        assert token.layers["n_obs"] == 12
        assert token.layers["valid_fraction"] == 0.75
        assert str(token.layers["last_date"])[:10] == "2021-09-01"
    (lon,), (lat,) = project("EPSG:32632", WGS84, [float(data.x[6])], [float(data.y[6])])
    waiting = state.click(lon, lat)
    assert (waiting.status, waiting.has_vector) == ("pending", False)
    with pytest.raises(SpecError, match="it has no vector: pending"):
        state.neighbours()
    assert state.click(100.0, 0.0) is None
    with pytest.raises(SpecError, match="no token was clicked"):
        state.mark(POSITIVE)


def test_clicks_near_the_corners_of_tokens_by_the_border_give_the_token_that_contains_them(ground):
    state = explored(ground)
    zones = {"utm31": lattice("utm31"), "utm32": lattice("utm32")}

    def containing(lon, lat):
        """The tokens that a point lies in and their zones own, in the order of zones."""
        for own in zones.values():
            (x,), (y,) = project(WGS84, own.crs, [lon], [lat])
            row, col = own.index(x, y)
            if own.owned(Rect(row, col, row + 1, col + 1))[0, 0]:
                yield own, row, col

    counts = {1: 0, 2: 0}
    for own in zones.values():
        (x,), (y,) = project(WGS84, own.crs, [6.0], [50.0])
        row, col = own.index(x, y)
        for down, across, at in itertools.product(
            range(-4, 5, 4), range(-1, 2), itertools.product((0.01, 0.99), repeat=2)
        ):
            x = own.origin[0] + (col + across + at[0]) * own.step
            y = own.origin[1] - (row + down + at[1]) * own.step
            (lon,), (lat,) = project(own.crs, WGS84, [x], [y])
            token, known = state.click(lon, lat), list(containing(lon, lat))
            if not known:
                assert not token.has_vector
                continue
            first, in_row, in_col = known[0]
            assert token.place["group"] == first.group
            cell = Rect(in_row, in_col, in_row + 1, in_col + 1)
            np.testing.assert_array_equal(token.vector, smooth(*first.lonlat(cell))[:, 0, 0])
            counts[len(known)] += 1
    assert counts[1] > 8
    assert counts[2] > 1


def test_neighbours_and_marks_find_what_search_finds(ground):
    state = explored(ground, k=7)
    first = state.click(5.7, 50.0)
    assert state.neighbours().equals(rs.search(ground, first.vector, span=0, k=7))
    state.mark(POSITIVE)
    second = state.click(6.3, 50.1)
    state.mark(POSITIVE)
    third = state.click(6.4, 49.9)
    state.mark(NEGATIVE)
    known = rs.search(ground, [first.vector, second.vector], negatives=[third.vector], span=0, k=7)
    assert state.search().equals(known)
    state.mark(NEGATIVE)  # once more: it is none any more
    assert state.search().equals(rs.search(ground, [first.vector, second.vector], span=0, k=7))
    state.mark(POSITIVE)
    state.mark(NEGATIVE)  # which replaces the other
    assert [role for role, _ in state.marks.values()] == [POSITIVE, POSITIVE, NEGATIVE]
    assert state.search().equals(known)


def test_marks_and_results_are_read_back_from_geojson(ground, tmp_path):
    state = explored(ground, k=3)
    with pytest.raises(SpecError, match="nothing is marked"):
        state.save(tmp_path / "marks.geojson")
    tokens = {}
    for role, place in ((POSITIVE, (5.7, 50.0)), (NEGATIVE, (6.3, 50.1))):
        tokens[role] = state.click(*place)
        state.mark(role)
    found = state.search()
    with pytest.raises(SpecError, match=r"ends? in \.geojson"):
        state.save(tmp_path / "marks.gpkg")
    path = state.save(tmp_path / "marks.geojson")
    back = gpd.read_file(path)
    assert back.crs == WGS84
    assert back["role"].tolist() == [POSITIVE, NEGATIVE, "found", "found", "found"]
    assert back["rank"].tolist()[2:] == [1, 2, 3]
    assert back["rank"].isna().tolist() == back["score"].isna().tolist() == [True, True, False, False, False]
    np.testing.assert_allclose(back["score"][2:], found["score"], atol=1e-15)
    assert set(back["model"]) == {"ground"}
    for at, role in enumerate((POSITIVE, NEGATIVE)):
        place = tokens[role].place
        assert back.loc[at, ["group", "x", "y", "crs", "span"]].tolist() == [
            place[name] for name in ("group", "x", "y", "crs", "span")
        ]
        np.testing.assert_allclose([back.geometry[at].x, back.geometry[at].y], [place["lon"], place["lat"]], atol=1e-7)
    assert json.loads(path.read_text("utf-8"))["type"] == "FeatureCollection"


def test_what_cannot_be_explored_is_refused(ground, tmp_path, monkeypatch):
    random_run(tmp_path / "run.zarr")
    with pytest.raises(SpecError, match="it is a run of places"):
        rs.explore(tmp_path / "run.zarr")
    with pytest.raises(SpecError, match="span"):
        rs.explore(ground, span=3)
    with pytest.raises(SpecError, match="height"):
        rs.explore(ground, height=1)
    derived = rs.open_map(ground)
    derived["ground"].attrs["model"] = {"derived": {"by": "classes"}}
    with pytest.raises(SpecError, match="bands were made by classes"):
        rs.explore(derived)
    monkeypatch.setitem(sys.modules, "lonboard", None)
    with pytest.raises(RsEmbedError, match=r"lonboard is not installed.*pip install 'rs-embed-dask\[explore\]'"):
        rs.explore(ground)


# ---------------------------------------------------------------------------------------------------------- the widget
def test_the_widget_shows_what_the_state_has(ground, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    MapStore.open(ground, "r+").update_receipt(weights={"ground": {"random": True}})
    explorer = rs.explore(ground, k=4)
    bundle = explorer._repr_mimebundle_()
    assert any("application/vnd.jupyter.widget-view+json" in one for one in bundle if one)
    heading, marking, saving, told, listed = explorer.widget.children[1].children
    assert "<b>ground</b>" in heading.value
    assert "random weights" in heading.value
    explorer.map._handle_custom_msg({"kind": "on-click", "coordinate": [5.7, 50.0]}, [])  # as the browser sends it
    vector = explorer.state.token.vector
    assert f"[{vector[0]:.4g}, {vector[1]:.4g}, {vector[2]:.4g}, 0]" in told.value
    assert "status ok" in told.value
    assert listed.value.count("<tr>") == 5
    like, not_this, clear = marking.children
    like.click()
    explorer.click(6.3, 50.1)
    not_this.click()
    assert explorer.state.found.equals(explorer.state.search())
    assert f"{explorer.state.found['score'].iloc[0]:.4f}" in listed.value
    assert len(explorer.map.layers) == 2
    saving.children[1].click()
    assert len(gpd.read_file(tmp_path / "marks.geojson")) == 6
    assert "6 points saved to" in listed.value
    clear.click()
    not_this.click()
    assert "negatives alone do not say" in listed.value
    explorer.click(100.0, 0.0)
    assert "No token" in told.value
    like.click()
    assert "no token was clicked" in listed.value


def test_the_map_asks_for_tiles_through_its_own_connection(ground):
    explorer = rs.explore(ground)
    (layer,) = explorer.map.layers
    sent = []
    layer.send = lambda content, buffers=None: sent.append((content, buffers))
    tile, _ = pixel(6.0, 50.0, 8)

    async def ask():
        index = dict(zip("xyz", (*tile, 8), strict=True))
        layer._handle_custom_msg({"kind": "raster-get-tile-data", "id": "1", "msg": {"tile": {"index": index}}}, [])
        await asyncio.gather(*layer._pending_tasks.values())

    asyncio.run(ask())
    ((content, buffers),) = sent
    assert content["response"] == {"type": "encoded-image", "media_type": "image/png"}
    assert bytes(buffers[0]) == tiles_of(ground).png(*tile, 8)
    assert layer.max_zoom == tiles_of(ground).deepest


def test_the_script_fetches_nothing_and_no_base_map_is_needed(ground):
    import lonboard

    assert "cdn.jsdelivr.net/npm/parquet-wasm@" in str(lonboard.Map._esm)
    explorer = rs.explore(ground)
    assert "cdn.jsdelivr.net/npm/parquet-wasm@" not in str(explorer.map._esm)
    assert explorer.map.basemap is None
    below = lonboard.basemap.MaplibreBasemap(style="https://example.org/style.json")
    assert rs.explore(ground, basemap=below).map.basemap is below


def test_layers_cover_the_ground_they_say(ground):
    tiles = tiles_of(ground)
    west, south, east, north = tiles.bounds
    assert west < 5.4
    assert east > 6.6
    assert south < 49.8
    assert north > 50.3
    pixel_m = 2 * 20_037_508.34 / TILE_PX / 2**tiles.deepest * np.cos(np.radians(south))
    assert GROUND.token_m / 16 < pixel_m <= GROUND.token_m / 8
