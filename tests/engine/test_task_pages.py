"""The Python of the pages by task runs as it stands, but for its source of images and the model that needs weights."""

from __future__ import annotations

import re
import shutil
from functools import partial
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely

import rs_embed_dask as rs

DOCS = Path(__file__).resolve().parents[2] / "docs"
COUNT = 16
SMALLER = {
    '"galileo:nano", ': "",
    "rs.TemporalSpec.year(2022)": 'rs.TemporalSpec.range("2022-06-01", "2022-06-16")',
    '"2022-06-01", "2022-09-01"': '"2022-06-01", "2022-06-16"',
}


def script(page):
    """The code blocks of a page, in order, of half a month."""
    text = "\n".join(re.findall(r"```python\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL))
    for written, smaller in SMALLER.items():
        text = text.replace(written, smaller)
    return text


@pytest.fixture
def offline(tmp_path, monkeypatch, threads_client):
    """A folder with the files that the pages name, and verbs that read the synthetic landscape by threads."""
    monkeypatch.chdir(tmp_path)
    landscape = rs.open_provider("synthetic", cloud=0, revisit_days=15)
    for verb in ("compute_embeddings", "compute_map"):
        options = {"provider": landscape, "client": threads_client, "progress": False}
        monkeypatch.setattr(rs, verb, partial(getattr(rs, verb), **options))
    corners = [(4.36 + 0.03 * (one % 4), 50.78 + 0.03 * (one // 4)) for one in range(COUNT)]
    fields = gpd.GeoDataFrame(
        {"field_id": [f"field-{one:02d}" for one in range(COUNT)], "crop": ["maize", "wheat"] * (COUNT // 2)},
        geometry=[shapely.box(x, y, x + 0.002, y + 0.0015) for x, y in corners],
        crs="EPSG:4326",
    )
    fields.to_file("fields.gpkg")
    county = gpd.GeoDataFrame(geometry=[shapely.box(4.36, 50.78, 4.367, 50.785)], crs="EPSG:4326")
    county.to_file("county.gpkg")
    return fields


def test_a_table_for_my_fields(offline, capsys):
    names = {}
    exec(script("fields.md"), names)
    written = gpd.read_parquet("fields.parquet")
    assert [one for one, _ in written.index] == offline["field_id"].tolist()
    assert written["crop"].tolist() == offline["crop"].tolist()
    vectors = rs.open_store("fields.zarr")["bandstats"].embedding.to_numpy()
    np.testing.assert_array_equal(written.filter(regex=r"^bandstats_\d").to_numpy(), vectors)
    assert names["squares"].nunique() > 4
    scores = dict(line.split() for line in capsys.readouterr().out.splitlines()[-2:])
    assert set(scores) == {"rcf", "bandstats"}
    assert all(0 <= float(score) <= 1 for score in scores.values())


def test_a_map_of_my_region(offline, capsys):
    names = {}
    exec(script("region.md"), names)
    field = names["group"].embedding
    assert np.isfinite(field.to_numpy()).mean() > 0.9
    assert str(dict(field.sizes)) in capsys.readouterr().out
    (path,) = names["files"]
    with rasterio.open(path) as image:
        assert (image.count, image.crs.to_epsg()) == (3, 32631)
    assert Path("county.png").stat().st_size > 10_000


def test_compare_models(offline):
    first, again = script("compare-models.md").split("told = ")
    names = {}
    exec(first, names)
    shutil.copytree("fields.zarr", "again.zarr")
    exec(f"told = {again}", names)
    assert names["told"].summary["median"].tolist() == pytest.approx([1, 1])
    assert Path("compared.png").stat().st_size > 10_000
