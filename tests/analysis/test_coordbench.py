"""CoordBench's tables from a folder that has two of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import rs_embed_dask as rs
from rs_embed_dask.analysis.coordbench import SOURCES
from rs_embed_dask.errors import SpecError, UnknownNameError
from tests.analysis.made import made_run

COUNT = 60
LON, LAT = np.linspace(-60, 60, COUNT), np.tile([5.0, 15.0, 25.0], COUNT // 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("coordbench")
    surveys = "asset_index water_index sanitation_index under5_mort women_edu women_bmi"
    kinds = np.where(LON < 0, 3, 7)
    split = np.where(np.arange(COUNT) % 4 == 0, "test", "trainval")
    tables = {
        "soilgrids": pd.DataFrame({"lon": LON, "lat": LAT, "soc": LON * 2.0, "phh2o": LAT, "timestamp": pd.NaT}),
        "satclip_country": pd.DataFrame({"lon": LON, "lat": LAT, "country": np.where(LAT > 20, 0, kinds)}),
        "sustainbench": pd.DataFrame({"lon": LON, "lat": LAT, "split": split} | dict.fromkeys(surveys.split(), LON)),
    }
    for name, table in tables.items():
        (root / "data" / name).mkdir(parents=True)
        table.to_parquet(root / "data" / name / "data.parquet")
    return root


def test_the_suite_has_the_published_numbers_of_benchmarks():
    families = pd.Series([source.family for source in SOURCES]).value_counts()
    assert families.to_dict() == {"socio": 28, "land": 20, "env": 12}
    assert len({source.name for source in SOURCES}) == 60


def test_its_protocol_is_followed(folder, tmp_path):
    names = ["soilgrids-soc", "satclip-country", "sustainbench-asset"]
    tables = rs.coordbench(folder, names)
    assert len(tables.places) == COUNT
    random = np.random.default_rng(0)
    vectors = np.stack([LON, random.normal(size=COUNT)], axis=1)
    run = made_run(tmp_path / "c.zarr", {"a": vectors, "b": vectors[:, 1:]}, tables.places.to_numpy())
    told = rs.benchmark(run, tables)
    scores = told.scores.query("model == 'a'").set_index(["task", "folds", "probe"])["value"]
    assert sorted(set(scores.index)) == [
        ("satclip-country", "degrees", "knn"),
        ("satclip-country", "degrees", "ridge"),
        ("satclip-country", "random", "knn"),
        ("satclip-country", "random", "ridge"),
        ("soilgrids-soc", "degrees", "ridge"),
        ("soilgrids-soc", "random", "ridge"),
        ("sustainbench-asset", "official", "ridge"),
    ]
    assert scores["soilgrids-soc", "random", "ridge"] > 0.99
    tested = told.table.set_index("task")["n"].to_dict()
    assert tested == {"satclip-country": COUNT - 20, "soilgrids-soc": COUNT, "sustainbench-asset": COUNT // 4}
    assert (told.scores["value"] >= -1).all()
    assert told.ranks.query("family == 'env' and model == 'a'")["rank"].tolist() == [1.0, 1.0]
    blocks = told.predictions.query("folds == 'degrees' and task == 'soilgrids-soc' and model == 'a'")
    cells = np.floor(LON[blocks["id"].str[1:].astype(int)] / 10), np.floor(LAT[blocks["id"].str[1:].astype(int)] / 10)
    assert blocks.groupby(list(cells))["fold"].nunique().max() == 1


def test_all_tables_of_the_folder_are_taken_and_the_others_named(folder):
    tables = rs.coordbench(folder)
    assert tables.names[:2] == ("sustainbench-asset", "sustainbench-water")
    assert tables.names[6:] == ("soilgrids-soc", "soilgrids-phh2o", "satclip-country")
    assert "bt-biomass" in tables.missing


def test_what_is_not_there_is_said(folder, tmp_path):
    with pytest.raises(SpecError, match="no bt_biomass/data"):
        rs.coordbench(folder, ["bt-biomass"])
    with pytest.raises(UnknownNameError, match="soilgrids-soc"):
        rs.coordbench(folder, ["soilgrids"])
    (tmp_path / "bt_biomass").mkdir()
    pd.DataFrame({"lon": LON, "lat": LAT, "mass": LON}).to_parquet(tmp_path / "bt_biomass" / "data.parquet")
    with pytest.raises(SpecError, match="none of the columns biomass_mean, but lon, lat, mass"):
        rs.coordbench(tmp_path, ["bt-biomass"])
