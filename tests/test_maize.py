"""The maize use case: SPAM's files, the choice of places, predictions, figures, on a made state with known answers."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
from matplotlib.image import imread
from pyproj import Geod
from rasterio import Affine
from shapely.geometry import LineString, Polygon, box

import rs_embed_dask as rs
from examples.maize import __main__ as everything, cells, made, pictures, spam, study, vectors
from rs_embed_dask.errors import SpecError
from tests.analysis.made import made_run

BUFFER_M = 2000.0
STATE = (slice(1, -1), slice(1, -1))  # the state's cells of the lattice
STEP = 1 / 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("maize")


@pytest.fixture(scope="module")
def scenes(folder):
    return made.landscape(folder / "scenes")


@pytest.fixture(scope="module")
def files(folder, scenes):
    return made.layers(folder, scenes, buffer_m=BUFFER_M)


@pytest.fixture(scope="module")
def table(files):
    return cells.chosen_cells(*files[:2], outline=files[2])


@pytest.fixture(scope="module")
def run(folder, scenes, table):
    """A run of two models: one has the reflectances of which the yields are made, the other noise."""
    lon, lat = made.lattice()
    seen = pd.DataFrame(made.reflectance(scenes, BUFFER_M), index=spam.grid_code(lon.ravel(), lat.ravel()))
    noise = np.random.default_rng(3).normal(size=(len(table), 8))
    sees = {"bands": seen.loc[table.index].to_numpy(), "noise": noise}
    return made_run(folder / "run.zarr", sees, table[["lon", "lat"]].to_numpy())


@pytest.fixture(scope="module")
def told(run, table):
    return study.predict(run, table)


def values(path):
    with rasterio.open(path) as file:
        return file.read(1)


def layer(path, array, **changes):
    """A raster in SPAM's format, but for some changes."""
    facts = {
        "crs": "EPSG:4326",
        "transform": Affine(STEP, 0, -90, 0, -STEP, 41),
        "nodata": np.nan,
        "count": 1,
    } | changes
    height, width = array.shape
    with rasterio.open(path, "w", driver="GTiff", height=height, width=width, dtype="float32", **facts) as file:
        for band in range(1, facts["count"] + 1):
            file.write(array.astype("float32"), band)
    return path


def listed(path, kind, rows, *, unit):
    """A table in SPAM's format: rows of longitude, latitude, country, state and value."""
    frame = pd.DataFrame(rows, columns=["x", "y", "FIPS0", "ADM1_NAME", "MAIZ_A"])
    frame.insert(0, "grid_code", spam.grid_code(frame["x"], frame["y"]))
    found = path / f"spam2020V2r0_global_{kind}_TA.csv"
    frame.assign(unit=unit).round(4).to_csv(found, index=False, encoding="utf-8-sig")
    return found


# ------------------------------------------------------------------------------------------------------ SPAM's files


def test_cells_are_counted_as_spam_counts_them():
    """The first of the published Illinois places: 2705420 at 88.2917 W, 37.7917 N."""
    assert spam.grid_code(-88.2917, 37.7917) == 2705420
    assert spam.centre(2705420) == pytest.approx((-88.2917, 37.7917), abs=5e-5)
    assert spam.grid_code(-180, 90) == 0
    assert spam.grid_code(179.99, -89.99) == spam.COLUMNS * spam.ROWS - 1


def test_a_cell_has_the_ground_that_a_geodesic_has():
    ground, _ = Geod(ellps="WGS84").geometry_area_perimeter(box(-89, 40, -89 + STEP, 40 + STEP))
    assert spam.ground_ha(40 + STEP / 2) == pytest.approx(abs(ground) / 1e4, rel=0.005)


def test_exactly_the_cells_of_the_state_with_much_maize_are_chosen(files, table):
    t_ha, area_ha = values(files[0])[STATE], values(files[1])[STATE]
    wanted = area_ha > 2500
    assert wanted.sum() == len(table) == made.SIDE**2 - made.FEW - 1
    assert (values(files[1]) > 2500).sum() > wanted.sum()  # outside the state there are more
    np.testing.assert_allclose(table["t_ha"], t_ha[wanted])
    np.testing.assert_allclose(table["area_ha"], area_ha[wanted])
    lon, lat = made.lattice()
    np.testing.assert_allclose(table[["lon", "lat"]], np.stack([lon[STATE][wanted], lat[STATE][wanted]], axis=1))


def test_kilograms_become_tonnes_and_what_is_neither_is_refused(tmp_path, files, table):
    kilograms = made.write_layer(tmp_path / made.YIELD_NAME, values(files[0]) * 1000)
    assert spam.read(kilograms, "Y").unit == "kg/ha"
    assert spam.read(files[0], "Y").unit == "t/ha"
    again = cells.chosen_cells(kilograms, files[1], outline=files[2])
    pd.testing.assert_frame_equal(again, table, rtol=1e-6)
    odd = made.write_layer(tmp_path / made.YIELD_NAME, values(files[0]) * 8)
    with pytest.raises(SpecError, match=r"median of its yields is 7\d\.\d+, neither t/ha"):
        spam.read(odd, "Y")


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("spam2020_V2r0_global_H_MAIZ_A.tif", "Y", "it holds the harvested area; yield and area are swapped"),
        ("spam2020V2r0_global_Y_TA.csv", "H", "it holds the yield; yield and area are swapped"),
        ("spam2020_V2r0_global_A_MAIZ_A.tif", "H", "it holds the physical area. Fix"),
        ("spam2020_V2r0_global_Y_SOYB_A.tif", "Y", "its crop is SOYB, not maize"),
        ("spam2020_V2r0_global_Y_MAIZ_I.tif", "Y", "it is of the irrigated part, not of all maize"),
        ("spam2020V2r0_global_H_TR.csv", "H", "it is of the rainfed part"),
        ("spam2020_V2r2_global_Y_MAIZ_A.tif", "Y", "it is version V2r2"),
        ("spam2020_V1r0_global_Y_MAIZ_A.tif", "Y", "it is version V1r0"),
        ("spam2010V2r0_global_Y_MAIZ_A.tif", "Y", "it is of SPAM2010"),
        ("spam2020_V2r0_SSA_Y_MAIZ_A.tif", "Y", "its extent is SSA"),
        ("yield.tif", "Y", "its name is not one of SPAM's"),
        ("spam2020_V2r0_global_Y_MAIZ_A.tif", "Y", "there is no such file"),
    ],
)
def test_files_of_something_else_are_refused_by_name(tmp_path, name, kind, reason):
    with pytest.raises(SpecError, match=reason) as caught:
        spam.read(tmp_path / name, kind)
    assert name in str(caught.value)
    assert "Fix: " in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"crs": "EPSG:3857"}, "its reference system is EPSG:3857"),
        ({"crs": None}, "its reference system is not stated"),
        ({"transform": Affine(STEP, 0, -90.02, 0, -STEP, 41)}, "are not SPAM's cells"),
        ({"transform": Affine(2 * STEP, 0, -90, 0, -2 * STEP, 41)}, "are not SPAM's cells"),
        ({"transform": Affine(STEP, 0, -90, 0, STEP, 41)}, "are not SPAM's cells"),
        ({"count": 2}, "it has 2 bands"),
        ({"nodata": None}, "it has the value -1, which its metadata does not call missing"),
    ],
)
def test_rasters_on_another_grid_are_refused(tmp_path, changes, reason):
    path = tmp_path / made.AREA_NAME
    with pytest.raises(SpecError, match=reason):
        spam.read(layer(path, np.array([[-1.0, 3000.0]]), **changes), "H")
    good = layer(path, np.array([[-1.0, 3000.0]]), nodata=-1.0)
    assert spam.read(good, "H").numbers.tolist() == [3000.0]


def test_a_geotransform_of_six_digits_is_spams(tmp_path):
    """Over the 4,320 columns of the globe it is off by 0.02 of a cell."""
    wide = np.full((1, spam.COLUMNS), np.nan)
    wide[0, -1] = 3000.0
    path = layer(tmp_path / made.AREA_NAME, wide, transform=Affine(0.083333, 0, -180, 0, -0.083333, 41))
    assert spam.read(path, "H").numbers.index.tolist() == [spam.grid_code(179.97, 40.97)]
    path = layer(tmp_path / made.AREA_NAME, wide, transform=Affine(0.08333, 0, -180, 0, -0.08333, 41))
    with pytest.raises(SpecError, match="are not SPAM's cells"):
        spam.read(path, "H")


def test_contents_that_are_swapped_under_the_right_names_are_refused(tmp_path, files):
    made.write_layer(tmp_path / made.YIELD_NAME, values(files[1]))
    made.write_layer(tmp_path / made.AREA_NAME, values(files[0]))
    swapped = (tmp_path / made.YIELD_NAME, tmp_path / made.AREA_NAME)
    with pytest.raises(SpecError, match=r"no cell there has more than 2500 ha.*Fix: check that yield and area"):
        cells.chosen_cells(*swapped, outline=files[2])
    made.write_layer(tmp_path / made.AREA_NAME, values(files[0]) * 1000)
    with pytest.raises(SpecError, match=r"a cell of 6,\d+ ha would have \d+,\d+ ha of maize"):
        cells.chosen_cells(*swapped, outline=files[2])


def test_rasters_need_an_outline_of_the_right_place(tmp_path, files):
    with pytest.raises(SpecError, match="rasters do not say which state a cell lies in"):
        cells.chosen_cells(*files[:2])
    elsewhere = gpd.GeoDataFrame(geometry=[box(5, 50, 6, 51)], crs="EPSG:4326")
    elsewhere.to_file(tmp_path / "there.gpkg")
    with pytest.raises(SpecError, match="no cell there has more than 2500 ha"):
        cells.chosen_cells(*files[:2], outline=tmp_path / "there.gpkg")
    elsewhere.to_file(tmp_path / "nowhere.shp")
    (tmp_path / "nowhere.prj").unlink()
    with pytest.raises(SpecError, match=r"nowhere\.shp.*it states no reference system"):
        cells.chosen_cells(*files[:2], outline=tmp_path / "nowhere.shp")


def test_tables_name_the_state(tmp_path):
    lon, lat = -89 + STEP / 2, 40 + STEP / 2
    areas = [
        (lon, lat, "US", "Illinois", 2500.1),
        (lon + STEP, lat, "US", "Illinois", 2500.0),
        (lon + 2 * STEP, lat, "US", "Illinois", 4000.0),
        (lon + 3 * STEP, lat, "US", "Illinois", 4000.0),
        (lon + 4 * STEP, lat, "US", "Indiana", 4000.0),
        (lon + 5 * STEP, lat, "BR", "Illinois", 4000.0),
    ]
    yields = [(*row[:-1], number) for row, number in zip(areas, (9.5, 9.6, 0.0, 11.8, 9.8, 5.0), strict=True)]
    areas, yields = listed(tmp_path, "H", areas, unit="ha"), listed(tmp_path, "Y", yields, unit="mt/ha")
    found = cells.chosen_cells(yields, areas)
    assert found["t_ha"].to_list() == [9.5, 11.8]
    assert found["lon"].to_list() == pytest.approx([lon, lon + 3 * STEP])
    assert len(cells.chosen_cells(yields, areas, state="indiana")) == 1
    with pytest.raises(SpecError, match=r"Ohio.*no cell of the table lies in it"):
        cells.chosen_cells(yields, areas, state="Ohio")
    with pytest.raises(SpecError, match=r"its unit is mt/ha\. Fix: one of ha is known"):
        spam.read(listed(tmp_path, "H", [(lon, lat, "US", "Illinois", 1.0)], unit="mt/ha"), "H")


def test_tables_that_were_changed_are_refused(tmp_path):
    row = (-89 + STEP / 2, 40 + STEP / 2, "US", "Illinois", 9.5)
    path = listed(tmp_path, "Y", [row, row], unit="mt/ha")
    with pytest.raises(SpecError, match="two rows are of this cell"):
        spam.read(path, "Y")
    frame = pd.read_csv(path)
    frame.assign(x=frame["x"] + 1).to_csv(path, index=False)
    with pytest.raises(SpecError, match="its x and y lie in another cell"):
        spam.read(path, "Y")
    frame.drop(columns="MAIZ_A").to_csv(path, index=False)
    with pytest.raises(SpecError, match="it has no column MAIZ_A"):
        spam.read(path, "Y")


@pytest.mark.parametrize("name", [made.AREA_NAME, "spam2020V2r0_global_H_TA.csv"])
def test_what_is_no_raster_or_table_is_refused(tmp_path, files, name):
    path = tmp_path / name
    for content in (b"", b"not what the name says", files[1].read_bytes()[:700]):
        path.write_bytes(content)
        with pytest.raises(SpecError, match=r"it (cannot be read|has no column).*Fix: "):
            spam.read(path, "H")


def test_a_table_of_another_encoding_is_read_or_refused(tmp_path):
    rows = [(-89 + STEP / 2, 40 + STEP / 2, "US", "Illinois", 9.5), (-73 + STEP / 2, 46.3, "CA", "Québec", 7.0)]
    path = listed(tmp_path, "Y", rows, unit="mt/ha")
    text = path.read_text(encoding="utf-8-sig")
    path.write_text(text, encoding="cp1252")
    assert spam.read(path, "Y").numbers.tolist() == [9.5]
    path.write_text(text, encoding="utf-16")
    with pytest.raises(SpecError, match="it has no column grid_code"):
        spam.read(path, "Y")


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("MAIZ_A", "n.d.", r"TA\.csv, MAIZ_A n\.d\.': it is not a finite number"),
        ("MAIZ_A", np.inf, "MAIZ_A inf': it is not a finite number"),
        ("MAIZ_A", -1.0, "it has the value -1, which"),
        ("grid_code", None, "grid_code nan': it is not a finite number"),
        ("x", "west", "x west': it is not a finite number"),
        ("unit", None, "its unit is missing, mt/ha"),
        ("FIPS0", "BR", "no row of the country US has a number of maize"),
    ],
)
def test_a_table_with_something_else_among_its_numbers_is_refused(tmp_path, column, value, reason):
    row = (-89 + STEP / 2, 40 + STEP / 2, "US", "Illinois", 9.5)
    path = listed(tmp_path, "Y", [row, (row[0] + STEP, *row[1:])], unit="mt/ha")
    frame = pd.read_csv(path).astype(object)
    frame.loc[slice(None) if column == "FIPS0" else 1, column] = value
    frame.to_csv(path, index=False)
    with pytest.raises(SpecError, match=reason):
        spam.read(path, "Y")


def test_an_outline_is_the_polygons_of_any_vector_file(tmp_path, files, table):
    (state,) = gpd.read_file(files[2]).geometry
    west, south, east, north = state.bounds
    crossed = Polygon([(west, south), (east, north), (east, south), (west, north)])
    hole = box(west + 2 * STEP, south + 2 * STEP, west + 4 * STEP, south + 4 * STEP)
    with_hole = gpd.GeoDataFrame(geometry=[LineString(state.exterior), state.difference(hole)], crs="EPSG:4326")
    with_hole.to_crs("EPSG:3857").to_file(tmp_path / "hole.gpkg")
    chosen = cells.chosen_cells(*files[:2], outline=tmp_path / "hole.gpkg")
    points = gpd.GeoSeries(gpd.points_from_xy(table["lon"], table["lat"]))
    assert chosen.index.tolist() == table.index[~points.within(hole).to_numpy()].tolist()
    drawn = pictures.places_map(chosen, cells.read_outline(tmp_path / "hole.gpkg"))
    assert len(drawn.axes[0].lines) == 2  # the border, and that of the hole
    gpd.GeoDataFrame(geometry=[crossed, state], crs="EPSG:4326").to_file(tmp_path / "crossed.gpkg")
    assert len(cells.chosen_cells(*files[:2], outline=tmp_path / "crossed.gpkg")) == len(table)
    with_hole.iloc[:1].to_file(tmp_path / "line.gpkg")
    (tmp_path / "text.geojson").write_text("nothing")
    (tmp_path / "table.csv").write_text("lon,lat\n-89,40\n")
    for name, reason in (
        ("line.gpkg", "no polygon"),
        ("table.csv", "without geom"),
        ("text.geojson", "cannot read"),
    ):
        with pytest.raises(SpecError, match=rf"outline.*{name}.*{reason}.*Fix: give a file of the state's polygons"):
            cells.read_outline(tmp_path / name)
    with pytest.raises(SpecError, match="No such file"):
        cells.read_outline(tmp_path / "missing.gpkg")


def test_the_count_is_said_and_compared_with_the_papers(table):
    assert cells.counted(range(991)) == "991 places with more than 2,500 ha of maize, as in the paper"
    assert "WARNING: the paper has 991" in cells.counted(table)
    assert "WARNING" not in cells.counted(table, state="Iowa")


# ---------------------------------------------------------------------------------------- vectors, labels, predictions


def test_items_have_the_yield_of_the_cell_that_they_lie_in(run, table, tmp_path):
    found = vectors.labels(run, table)
    assert found.to_list() == table["t_ha"].to_list()
    rounded = made_run(
        tmp_path / "a.zarr", {"one": np.ones((len(table), 1))}, table[["lon", "lat"]].round(4).to_numpy()
    )
    assert vectors.labels(rounded, table).to_list() == table["t_ha"].to_list()
    assert vectors.joined(run, table.iloc[:50]) == "50 of 50 places have an item, of 123 items"
    near = table[["lon", "lat"]].iloc[[0, 0]].to_numpy() + np.array([[0, 0], [0.01, 0]])
    twice = made_run(tmp_path / "b.zarr", {"one": np.ones((2, 1))}, near)
    with pytest.raises(SpecError, match=f"grid code {table.index[0]}': two items lie in this cell"):
        vectors.labels(twice, table)


def test_models_that_cannot_run_are_told_with_the_reason(table, tmp_path):
    able, reasons = vectors.judged(table, "synthetic", ["bandstats", "prithvi:tiny-TL", "satmae", "satvision"])
    assert [spec.id for spec in able] == ["bandstats"]
    assert "the file is not on this machine" in reasons["prithvi-tiny-TL"]
    assert "licence" in reasons["satmae"]
    (verdict,) = rs.can_run(vectors.places(table)[:1], models=["satvision"], provider="synthetic").verdicts
    assert not verdict.ok
    assert reasons["satvision"] == f"{verdict.reason}. Fix: {verdict.fix}"
    _, reasons = vectors.judged(table, "synthetic", ["satmae"], accept_licence=True)
    assert "the file is not on this machine" in reasons["satmae"]
    untrained = rs.ModelSpec("prithvi", variant="tiny-TL", weights="random")
    assert vectors.judged(table, "synthetic", [untrained])[0] == [untrained]
    able, reasons = vectors.judged(table, "synthetic")
    assert {"bandstats", "rcf"} <= {spec.id for spec in able}
    assert "location" not in {spec.id for spec in able}


def score(told, **where):
    rows = told.table
    for name, one in where.items():
        rows = rows[rows[name] == one]
    (only,) = rows["value"]
    return only


def test_the_forest_finds_the_relation_and_blocks_are_harder(told, table):
    found = {
        (model, folds): score(told, model=model, folds=folds, metric="r2")
        for model in ("bands", "noise", "location")
        for folds in study.FOLDS
    }
    assert found["bands", "random"] > 0.9
    assert found["bands", "blocks"] > 0.7
    assert max(found["noise", folds] for folds in study.FOLDS) < 0.1
    assert found["location", "random"] - found["location", "blocks"] > 0.2
    assert found["bands", "random"] > found["bands", "blocks"]
    own = told.predictions.query("model == 'bands' and folds == 'random'")
    errors = own["prediction"] - own["label"]
    assert score(told, model="bands", folds="random", metric="rmse") == pytest.approx(np.sqrt((errors**2).mean()))
    assert sorted(own["label"]) == sorted(table["t_ha"])
    assert own["fold"].value_counts().between(30, 31).all()  # a quarter of 123 is held out at a time


def test_shuffled_labels_have_nothing_to_be_found(run, table):
    labels = vectors.labels(run, table).to_frame()
    labels["shuffled"] = np.random.default_rng(0).permutation(labels["yield"])
    linear = rs.benchmark(run, labels, probes="ridge", folds=study.FOLDS)
    for folds in study.FOLDS:
        assert score(linear, task="yield", model="bands", folds=folds, metric="r2") > 0.99
        assert abs(score(linear, task="shuffled", model="bands", folds=folds, metric="r2")) < 0.1


# ------------------------------------------------------------------------------------------------------------- figures


def test_bars_have_the_scores_and_the_best_is_on_top(told):
    figure = pictures.bars(told)
    left, right = figure.axes
    names = [tick.get_text() for tick in left.get_yticklabels()]
    assert names == pictures.ranked(told)
    assert names[0] == "bands"
    for axes, metric in ((left, "r2"), (right, "rmse")):
        for drawn, folds in zip(axes.containers[::2], study.FOLDS, strict=True):
            wanted = [score(told, model=name, folds=folds, metric=metric) for name in names]
            assert [bar.get_width() for bar in drawn] == pytest.approx(wanted)
    assert left.yaxis_inverted()


def test_the_scatter_has_every_prediction_of_the_best_models(told):
    figure = pictures.against(told)
    assert [axes.get_title() for axes in figure.axes[:2]] == pictures.best(told)
    for row, folds in enumerate(study.FOLDS):
        points = figure.axes[2 * row].collections[0].get_offsets()
        own = told.predictions[(told.predictions["model"] == "bands") & (told.predictions["folds"] == folds)]
        np.testing.assert_allclose(points, own[["label", "prediction"]])


def test_maps_have_the_residuals_at_their_cells(told, run, table):
    figure = pictures.maps(told, vectors.codes(run), box(-90, 39, -88, 41))
    (mesh,) = [part for part in figure.axes[5].collections if part.get_array() is not None]
    image = np.asarray(mesh.get_array().filled(np.nan))
    own = told.predictions.query("model == 'bands' and folds == 'blocks'")
    assert np.isfinite(image).sum() == len(table)
    code = vectors.codes(run)[own["id"]]
    row, column = np.divmod(code.to_numpy(), spam.COLUMNS)
    np.testing.assert_allclose(image[row - row.min(), column - column.min()], own["prediction"] - own["label"])
    west, north = mesh.get_coordinates()[row[0] - row.min(), column[0] - column.min()]
    np.testing.assert_allclose((west + STEP / 2, north - STEP / 2), table.loc[code.iloc[0], ["lon", "lat"]])


def test_exports_of_both_layouts_give_the_vectors(run, table, folder):
    for name in ("old.nc", "old"):
        rs.export(run, "rs-embed", folder / name)
        found = vectors.imported(folder / name)
        np.testing.assert_array_equal(found["bands"]["embedding"], run["bands"]["embedding"])
        np.testing.assert_array_equal(vectors.labels(found, table), table["t_ha"])


def test_one_command_draws_all_figures_from_an_export(run, files, folder, capsys):
    rs.export(run, "rs-embed", folder / "old.npz")
    yields, areas, outline = files
    given = {"yields": yields, "areas": areas, "outline": outline, "export": folder / "old.npz", "out": folder / "out"}
    study.draw(everything.FIGURES, "about", [f"--{name}={path}" for name, path in given.items()])
    said = capsys.readouterr().out
    assert "123 places with more than 2,500 ha of maize; WARNING: the paper has 991" in said
    assert "123 of 123 places have an item, of 123 items" in said
    assert "bands" in said
    for name in ("figure_4", "figure_5", "figure_7", "figure_8"):
        assert imread(folder / "out" / f"{name}.png").std() > 0.05  # not blank


def test_without_an_export_the_vectors_are_computed(run, table, files, folder, monkeypatch, capsys):
    asked = {}

    def compute(spatials, models, temporal, **options):
        asked.update(options, spatials=spatials, models=[spec.label for spec in models], temporal=temporal)
        return run

    monkeypatch.setattr(rs, "compute_embeddings", compute)
    given = {"yields": files[0], "areas": files[1], "outline": files[2], "provider": "synthetic", "buffer-m": 320}
    arguments = [f"--{name}={value}" for name, value in given.items()]
    more = ["--provider-option=seed=7", f"--out={folder}", "--models", "bandstats", "satvision"]
    parsed = study.options("about").parse_args([*arguments, *more])
    assert study.Study(parsed).run.identical(run)
    assert asked["models"] == ["bandstats"]
    assert asked["temporal"] == rs.TemporalSpec.range("2019-06-01", "2019-08-01")
    assert asked["ids"] == [str(code) for code in table.index]
    first = rs.PointBuffer(table["lon"].iloc[0], table["lat"].iloc[0], buffer_m=320)
    assert asked["spatials"][0] == first
    assert asked["provider"] == rs.open_provider("synthetic", seed=7)
    assert asked["out"] == folder / "vectors.zarr"
    said = capsys.readouterr().out
    assert "without satvision: " in said
    assert "with bandstats\n" in said


def test_what_is_refused_ends_the_command_with_its_reason(files, folder, capsys):
    with pytest.raises(SystemExit):
        study.draw(
            everything.FIGURES,
            "about",
            ["--yields", str(files[1]), "--areas", str(files[0]), "--out", str(folder / "c")],
        )
    assert "yield and area are swapped" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_and_what_is_no_export_are_refused(files, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    given = ["--yields", str(files[0]), "--areas", str(files[1]), "--outline", str(files[2])]
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(SystemExit):
            study.draw(everything.FIGURES, "about", [*given, "--out", str(out)])
        assert "Fix: name a folder that can be made and written to" in capsys.readouterr().err
    np.savez(tmp_path / "foreign.npz", a=np.ones(3))
    for export, reason in ((tmp_path / "no.npz", "there is no export"), (tmp_path / "foreign.npz", "no manifest")):
        with pytest.raises(SpecError, match=rf"{reason}.*Fix: give the \.npz or \.nc that rs-embed wrote"):
            vectors.imported(export)
