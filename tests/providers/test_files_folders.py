"""Folders as they come: ESA's .SAFE, Landsat Collection 2, HLS, and what lies beside the bands in them."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from rs_embed_dask.errors import ProviderError, SpecError
from rs_embed_dask.imagery.cube import Read
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.imagery.sensors import sensor
from rs_embed_dask.providers import load
from rs_embed_dask.providers.files.folders import FilesPassedOverWarning
from rs_embed_dask.providers.files.naming import layer_in, product_of
from rs_embed_dask.providers.files.provider import Files
from rs_embed_dask.specs.fetch import FetchSpec
from tests.providers.rasters import GRID, ramp, write

JUNE = Span("2022-06-01", "2022-07-01")
COARSE = Grid(GRID.crs, (20, 0, 664_000, 0, -20, 5_612_000), (12, 15))
NAME = "S2A_MSIL2A_20220605T105621_N0400_R094_T31UFS_20220605T170000"
PICTURE = np.stack([ramp(GRID.shape, dtype="uint8")] * 3)
LANDSAT = "LC08_L2SP_199025_20220605_20220610_02_T1"
HLS = "HLS.S30.T31UFS.2022156T105621.v2.0"


def seen(files, *bands, which="s2", mask=None):
    return load(files, Read(GRID, which, bands or ("red",), (JUNE,), FetchSpec(mask=mask)))


def safe(root, name=f"{NAME}.SAFE"):
    """Write a product as ESA lays it out; return its folder and that of its images."""
    images = root / name / "GRANULE" / "L2A_T31UFS_A036287_20220605T105624" / "IMG_DATA"
    for start, band in enumerate(("B02", "B03", "B04", "B08"), 2000):
        write(images / "R10m" / f"T31UFS_20220605T105621_{band}_10m.tif", ramp(GRID.shape, start))
    write(images / "R20m" / "T31UFS_20220605T105621_B05_20m.tif", np.full(COARSE.shape, 5000, np.uint16), COARSE)
    write(images / "R20m" / "T31UFS_20220605T105621_B04_20m.tif", np.full(COARSE.shape, 9000, np.uint16), COARSE)
    quality = np.full(COARSE.shape, 4, np.uint8)
    quality[0, 0] = 9
    write(images / "R20m" / "T31UFS_20220605T105621_SCL_20m.tif", quality, COARSE)
    for name_, where in (("TCI_10m", "R10m"), ("AOT_10m", "R10m")):
        values = PICTURE if name_.startswith("TCI") else ramp(GRID.shape)
        write(images / where / f"T31UFS_20220605T105621_{name_}.tif", values)
    aside = images.parent / "QI_DATA"
    write(aside / "T31UFS_20220605T105621_PVI.tif", PICTURE)
    write(aside / "MSK_CLASSI_B00.tif", np.zeros((3, 12, 15), np.uint8), COARSE)
    write(aside / "MSK_DETFOO_B04.tif", np.full(GRID.shape, 7, np.uint8))
    (images / "R10m" / "._T31UFS_20220605T105621_B04_10m.tif").write_bytes(b"\x00\x05\x16\x07" + bytes(100))
    write(root / name / "preview.tif", ramp(GRID.shape, dtype="uint8"), None)
    return root / name, images


def red():
    expected = ramp(GRID.shape, 2002).astype(np.float32) - 1000
    expected[:2, :2] = np.nan
    return expected


def test_a_safe_product_is_one_scene(tmp_path):
    top, images = safe(tmp_path)
    for source in (top, tmp_path, images, str(top)):
        files = Files(source, sensor="s2")
        (scene,) = files.search("s2", GRID, JUNE, fetch=FetchSpec())
        assert scene.datetime == dt.datetime(2022, 6, 5, 10, 56, 21, tzinfo=dt.UTC)
        assert scene.id == NAME
        found = seen(files, "red", "rededge1")
        np.testing.assert_array_equal(found.values[0, 0], red())
        np.testing.assert_array_equal(found.values[0, 1][2:], 4000)


def test_what_is_passed_over_is_listed(tmp_path):
    top, _ = safe(tmp_path)
    passed = {path.rsplit("/", 1)[1]: reason for path, reason in Files(top, sensor="s2").passed_over.items()}
    assert {name: reason for name, reason in passed.items() if "picture" in reason} == {
        "T31UFS_20220605T105621_TCI_10m.tif": "it is a picture",
        "preview.tif": "it is a picture",
    }
    hidden = {name for name, reason in passed.items() if "hidden" in reason}
    assert hidden == {
        "._T31UFS_20220605T105621_B04_10m.tif",
        "T31UFS_20220605T105621_PVI.tif",
        "MSK_CLASSI_B00.tif",
        "MSK_DETFOO_B04.tif",
    }
    assert "finer pixels" in passed["T31UFS_20220605T105621_B04_20m.tif"]
    assert "neither its name" in passed["T31UFS_20220605T105621_AOT_10m.tif"]
    assert len(passed) == 8


def test_a_renamed_safe_folder_is_known_by_its_metadata(tmp_path):
    top, _ = safe(tmp_path, "june")
    (top / "MTD_MSIL2A.xml").write_text(f"<n1:A><PRODUCT_URI>{NAME}.SAFE</PRODUCT_URI></n1:A>", encoding="utf-8")
    np.testing.assert_array_equal(seen(Files(top, sensor="s2")).values[0, 0], red())


def test_two_products_of_a_day_are_two_scenes(tmp_path):
    safe(tmp_path)
    other = NAME.replace("T31UFS_2022", "T31UFT_2022")
    images = tmp_path / f"{other}.SAFE" / "GRANULE" / "x" / "IMG_DATA" / "R10m"
    write(images / "T31UFT_20220605T105621_B04_10m.tif", ramp(GRID.shape, 7000))
    scenes = Files(tmp_path, sensor="s2").search("s2", GRID, JUNE, fetch=FetchSpec())
    assert [scene.id for scene in scenes] == [NAME, other]


def test_old_products_hold_many_tiles(tmp_path):
    top = "S2A_OPER_PRD_MSIL1C_PDMC_20160605T180000_R094_V20160605T105621_20160605T105621"
    for tile, start in (("T31UFS", 2000), ("T31UFT", 3000)):
        granule = f"S2A_OPER_MSI_L1C_TL_SGS__20160605T160000_A004_{tile}"
        images = tmp_path / f"{top}.SAFE" / "GRANULE" / f"{granule}_N02.04" / "IMG_DATA"
        for band in ("B04", "B08"):
            write(images / f"{granule}_{band}.tif", ramp(GRID.shape, start))
    files = Files(tmp_path, sensor="sentinel-2-l1c")
    span = Span("2016-06-01", "2016-07-01")
    scenes = files.search("sentinel-2-l1c", GRID, span, fetch=FetchSpec())
    assert [scene.id[-6:] for scene in scenes] == ["T31UFS", "T31UFT"]
    found = load(files, Read(GRID, "sentinel-2-l1c", ("red", "nir"), (span,), FetchSpec(mask="none")))
    np.testing.assert_array_equal(found.values[0, 0], ramp(GRID.shape, 2000))


def test_another_level_is_passed_over_and_named(tmp_path):
    top = tmp_path / NAME.replace("L2A", "L1C")
    write(top / "IMG_DATA" / "T31UFS_20220605T105621_B04.tif", ramp(GRID.shape, 3000))
    with pytest.raises(ProviderError, match=r"its product is L1C, not sentinel-2-l2a.*sensor='sentinel-2-l1c'"):
        seen(Files(top, sensor="s2"))
    found = seen(Files(top, sensor="sentinel-2-l1c"), which="sentinel-2-l1c", mask="none")
    np.testing.assert_array_equal(found.values[0, 0], ramp(GRID.shape, 3000) - 1000)


def test_a_landsat_folder(tmp_path):
    place = Grid(GRID.crs, (30, 0, 664_000, 0, -30, 5_612_000), (8, 10))
    numbers = {"SR_B4": 9000, "SR_B5": 12_000, "ST_B10": 44_000}
    for name, number in numbers.items():
        write(tmp_path / f"{LANDSAT}_{name}.TIF", np.full(place.shape, number, np.uint16), place, nodata=0)
    quality = np.full(place.shape, 21_824, np.uint16)
    quality[0, 0] = 22_280  # cloud
    write(tmp_path / f"{LANDSAT}_QA_PIXEL.TIF", quality, place, nodata=1)
    for name in ("SR_QA_AEROSOL", "QA_RADSAT", "ST_QA", "ST_CDIST", "ST_EMIS"):
        write(tmp_path / f"{LANDSAT}_{name}.TIF", np.ones(place.shape, np.uint16), place)
    write(tmp_path / f"{LANDSAT.replace('L2SP', 'L1TP')}_B4.TIF", np.full(place.shape, 1, np.uint16), place)
    files = Files(tmp_path, sensor="landsat")
    (scene,) = files.search("landsat", GRID, JUNE, fetch=FetchSpec())
    assert (scene.id, scene.datetime.date()) == (LANDSAT, dt.date(2022, 6, 5))
    found = seen(files, "red", "nir08", "lwir11", which="landsat")
    assert np.isnan(found.values[0, :, :3, :3]).all()
    expected = [9000 * 0.275 - 2000, 12_000 * 0.275 - 2000, 44_000 * 0.00341802 + 149]
    np.testing.assert_allclose(found.values[0, :, 5, 5], expected, rtol=1e-6)
    assert sum("L1TP" in reason for reason in files.passed_over.values()) == 1


def test_bands_of_landsat_5_and_7_are_numbered_in_their_own_way(tmp_path):
    name = LANDSAT.replace("LC08", "LE07")
    for number, level in ((1, 8000), (3, 9000), (4, 12_000), (7, 10_000)):
        write(tmp_path / f"{name}_SR_B{number}.TIF", np.full(GRID.shape, level, np.uint16))
    write(tmp_path / f"{name}_ST_B6.TIF", np.full(GRID.shape, 44_000, np.uint16))
    found = seen(Files(tmp_path, sensor="landsat"), "blue", "red", "nir08", "swir22", which="landsat", mask="none")
    np.testing.assert_allclose(
        found.values[0, :, 0, 0], np.array([8000, 9000, 12_000, 10_000]) * 0.275 - 2000, rtol=1e-5
    )
    assert layer_in(f"{name}_ST_B6", sensor("landsat"))[0] == "lwir11"
    assert layer_in(f"{name}_SR_B6", sensor("landsat")) is None


def test_hls_tiles_lie_in_one_folder_or_in_several(tmp_path):
    values = ramp(GRID.shape, 500, "int16")
    values[0, :3] = -9999
    quality = np.full(GRID.shape, 64, np.uint8)
    quality[5, 5] = 66
    write(tmp_path / "red" / f"{HLS}.B04.tif", values, nodata=-9999)
    write(tmp_path / "masks" / f"{HLS}.Fmask.tif", quality, nodata=255)
    for name in ("SAA", "SZA"):
        write(tmp_path / "angles" / f"{HLS}.{name}.tif", ramp(GRID.shape))
    write(tmp_path / "red" / f"{HLS.replace('S30', 'L30')}.B04.tif", ramp(GRID.shape, 9, "int16"))
    files = Files(tmp_path, sensor="hls2-s30")
    (scene,) = files.search("hls2-s30", GRID, JUNE, fetch=FetchSpec())
    assert (scene.id, scene.datetime) == (HLS, dt.datetime(2022, 6, 5, 10, 56, 21, tzinfo=dt.UTC))
    expected = values.astype(np.float32)
    expected[0, :3] = expected[5, 5] = np.nan
    np.testing.assert_array_equal(seen(files, which="hls2-s30").values[0, 0], expected)
    assert min(files.passed_over.values()).startswith("its product is L30")


def test_copies_of_one_product_count_once(tmp_path):
    for folder in ("a", "b"):
        write(tmp_path / folder / f"{HLS}.B04.tif", ramp(GRID.shape, 500, "int16"))
    files = Files(tmp_path, sensor="hls2-s30")
    assert seen(files, which="hls2-s30", mask="none").n_obs.max() == 1
    assert ["same file of the same product" in reason for reason in files.passed_over.values()] == [True]


def test_folders_of_one_name_are_scenes_of_their_own(tmp_path):
    for year, level in (("a", 1000), ("b", 3000)):
        write(tmp_path / year / "june" / "20220605_B04.tif", np.full(GRID.shape, level, np.uint16))
    scenes = Files(tmp_path, sensor="s2").search("s2", GRID, JUNE, fetch=FetchSpec())
    assert [scene.id for scene in scenes] == ["june_20220605_0", "june_20220605_1"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: write(folder / "other.tif", PICTURE), "3 bands"),
        (lambda folder: write(folder / "other.tif", ramp((5, 5)), None), "no coordinate reference system"),
        (lambda folder: (folder / "other.tif").write_text("no raster"), "not a raster file"),
    ],
)
def test_images_that_cannot_be_read_are_passed_over_aloud(tmp_path, spoil, words):
    write(tmp_path / "20220605_B04.tif", ramp(GRID.shape))
    spoil(tmp_path)
    files = Files(tmp_path, sensor="s2")
    with pytest.warns(FilesPassedOverWarning, match=f"1 raster files are not read.*other.tif.*{words}"):
        assert len(files.search("s2", GRID, JUNE, fetch=FetchSpec())) == 1
    with pytest.warns(FilesPassedOverWarning):
        assert [words in reason for reason in files.passed_over.values()] == [True]


def test_a_picture_that_is_named_itself_is_an_error(tmp_path):
    path = write(tmp_path / "20220605_TCI.tif", PICTURE)
    with pytest.raises(SpecError, match=r"3 bands.*bands="):
        seen(Files(path, sensor="s2"))
    with pytest.raises(ProviderError, match=r"passed over: 20220605_TCI.tif \(it is a picture\)"):
        seen(Files(tmp_path, sensor="s2"))


@pytest.mark.parametrize(
    ("stem", "which", "layer"),
    [
        (f"{LANDSAT}_SR_B4", "landsat", ("red", LANDSAT)),
        (f"{LANDSAT}_QA_PIXEL", "landsat", ("QA_PIXEL", LANDSAT)),
        (f"{LANDSAT}_SR_QA_AEROSOL", "landsat", None),
        ("MOD09A1.A2022153.h18v04.061.2022162_sur_refl_b01", "modis", ("red", "MOD09A1_A2022153_h18v04_061_2022162")),
        (
            "MOD09A1.A2022153.h18v04.061.2022162_sur_refl_state_500m",
            "modis",
            ("StateQA", "MOD09A1_A2022153_h18v04_061_2022162"),
        ),
        ("L2A_T31UFS_20160605T105621_B8A_20m", "s2", ("nir08", "L2A_T31UFS_20160605T105621")),
    ],
)
def test_layers_of_several_words(stem, which, layer):
    assert layer_in(stem, sensor(which)) == layer


def test_products_in_names(tmp_path):
    assert product_of(tmp_path / f"{HLS}.B04.tif").sensor == "hls2-s30"
    assert product_of(tmp_path / f"{LANDSAT}_SR_B4.TIF").name == LANDSAT
    assert product_of(tmp_path / f"{LANDSAT.replace('L2SP', 'L1TP')}_B4.TIF").sensor is None
    assert product_of(tmp_path / f"{NAME}.SAFE" / "B04.jp2").name == NAME
    assert product_of(tmp_path / "S2A_31UFS_20220605_0_L2A" / "B04.tif") is None
