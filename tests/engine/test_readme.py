"""The README's script from fields to a table, run as it stands but for its source of images and its weights."""

import re
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

import rs_embed_dask as rs

README = Path(__file__).parents[2] / "README.md"
OFFLINE = {
    '"galileo:nano"': 'rs.ModelSpec("galileo", variant="nano", weights="random")',
    'out="fields.zarr")': 'out="fields.zarr", provider="synthetic", client=client, progress=False)',
}
FIELDS = 24
SUMMER = rs.TemporalSpec.range("2022-06-01", "2022-09-01")


def outline(number):
    """A field with a slanted side, so that it is not its box."""
    x, y = 4.40 + 0.006 * (number % 4), 50.70 + 0.004 * (number // 4)
    return shapely.Polygon([(x, y), (x + 0.003, y + 0.0004), (x + 0.0022, y + 0.002), (x, y + 0.0014)])


def script():
    text = re.search(r"### From fields to a table.*?```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)[1]
    for written, offline in OFFLINE.items():
        assert written in text
        text = text.replace(written, offline)
    return text


def test_from_fields_to_a_table(tmp_path, monkeypatch, capsys, threads_client):
    monkeypatch.chdir(tmp_path)
    ids = [f"field-{number:02d}" for number in range(FIELDS)]
    fields = gpd.GeoDataFrame(
        {"field_id": ids}, geometry=[outline(number) for number in range(FIELDS)], crs="EPSG:4326"
    )
    options = {"provider": "synthetic", "client": threads_client, "progress": False}
    alone = rs.compute_embeddings(fields, ["bandstats"], SUMMER, ids="field_id", **options)["bandstats"]
    brightness = alone["embedding"].to_numpy()[:, 10]
    fields["crop"] = np.where(brightness > np.median(brightness), "maize", "wheat")  # what bandstats can tell apart
    fields.to_file("fields.gpkg")

    names = {"client": threads_client}
    exec(script(), names)

    scores = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert list(scores) == ["galileo-nano", "rcf", "bandstats"]
    assert float(scores["bandstats"]) > 0.8  # chance gives 0.5
    written = gpd.read_parquet("fields.parquet")
    assert list(written.index) == [(one, span) for one in ids for span in ("spring", "summer")]
    summer = written.xs("summer", level="span")
    assert summer["crop"].tolist() == fields["crop"].tolist()
    assert all(summer.geometry.geom_equals_exact(fields.set_index("field_id").geometry, 1e-9))
    columns = [name for name in written if re.fullmatch(r"bandstats_\d+", name)]
    np.testing.assert_array_equal(summer[columns].to_numpy(), alone["embedding"].to_numpy())
    assert (pd.unique(written["rcf_within"]) == ["shape"]).all()
