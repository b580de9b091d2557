"""Errors: their words, their classes, what they hide, and that they survive a pickle."""

from __future__ import annotations

import datetime as dt
import pickle

import numpy as np
import pytest

from rs_embed_dask import errors
from rs_embed_dask.errors import MISSING, RsEmbedError, SpecError, TransientError, UnknownNameError, redact, shown

SIGNED = "https://account.blob.core.windows.net/s2/B04.tif?st=2026&se=2027&sig=abc%2Fdef%3D"
CLASSES = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, RsEmbedError)]


def test_the_message_names_value_reason_and_fix():
    error = SpecError(
        "BBox.minlon", value=200, reason="longitudes lie in [-180, 180]", fix="give degrees, or pass crs="
    )
    assert str(error) == "BBox.minlon = 200: longitudes lie in [-180, 180]. Fix: give degrees, or pass crs=."
    assert (error.what, error.value, error.reason, error.fix) == (
        "BBox.minlon",
        200,
        "longitudes lie in [-180, 180]",
        "give degrees, or pass crs=",
    )


def test_without_a_value_there_is_none_in_the_message():
    error = RsEmbedError("the store", reason="it is gone.", fix="make another.")
    assert str(error) == "the store: it is gone. Fix: make another."
    assert error.value is MISSING


@pytest.mark.parametrize(
    ("kind", "parents"),
    [
        ("SpecError", (ValueError,)),
        ("UnknownNameError", (LookupError,)),
        ("ModelInputError", (ValueError,)),
        ("LicenceError", (errors.WeightsError,)),
        ("NoImageryError", (errors.ProviderError,)),
        ("TransientError", (errors.ProviderError,)),
        ("AccessError", (errors.ProviderError,)),
        ("StoreBusyError", (errors.StoreError,)),
        ("StoreMismatchError", (errors.StoreError,)),
        ("PlanError", (errors.EngineError,)),
        ("ModelError", (RsEmbedError,)),
    ],
)
def test_the_tree_of_classes(kind, parents):
    assert issubclass(getattr(errors, kind), (RsEmbedError,))
    assert all(issubclass(getattr(errors, kind), parent) for parent in parents)


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_survives_a_pickle(kind):
    error = kind("item 3", value={"a": 1}, reason="it failed", fix="try again")
    error.add_note("seen on worker 2")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert str(back) == str(error)
    assert back.__dict__ == error.__dict__
    assert back.__notes__ == ["seen on worker 2"]


def test_missing_is_one_thing_in_every_process():
    assert pickle.loads(pickle.dumps(MISSING)) is MISSING
    error = pickle.loads(pickle.dumps(RsEmbedError("x", reason="r", fix="f")))
    assert error.value is MISSING


def test_a_transient_error_carries_the_wait():
    error = TransientError("token", value=429, reason="too many requests", fix="wait", retry_after_s=23.0)
    assert pickle.loads(pickle.dumps(error)).retry_after_s == 23.0
    assert TransientError("token", reason="r", fix="f").retry_after_s is None


def test_a_signed_url_is_cut_everywhere():
    error = RsEmbedError(f"read {SIGNED}", value=SIGNED, reason=f"GET {SIGNED} gave 403", fix=f"sign {SIGNED} again")
    for part in (str(error), error.what, error.value, error.reason, error.fix, repr(error), str(error.__dict__)):
        assert "sig" not in part.replace("sign", "")
        assert "?" not in part
    assert error.value == "https://account.blob.core.windows.net/s2/B04.tif"


def test_a_signed_url_inside_a_structure_is_cut():
    error = RsEmbedError("asset", value={"href": SIGNED, "roles": ["data"]}, reason="r", fix="f")
    assert error.value == "{'href': 'https://account.blob.core.windows.net/s2/B04.tif', 'roles': ['data']}"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("no secret here", "no secret here"),
        ("<https://h/a?x=1>, then", "<https://h/a>, then"),
        ("('https://h/a?sig=1', 2)", "('https://h/a', 2)"),
        ("st=1&sig=aGVsbG8%3D&se=2", "st=1&sig=...&se=2"),
        ("X-Amz-Signature=00ff end", "X-Amz-Signature=... end"),
        ("s3://key:secret@host/bucket", "s3://host/bucket"),
        ("/vsicurl/https://h/a.tif?sv=1 not found", "/vsicurl/https://h/a.tif not found"),
        ("really?", "really"),
    ],
)
def test_redact(text, clean):
    assert redact(text) == clean
    assert redact(redact(text)) == clean


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.5, "1.5"),
        (None, "None"),
        (np.zeros((3, 4)), "ndarray of shape (3, 4)"),
        ("a\nb", r"'a\nb'"),
        (dt.date(2022, 1, 2), "datetime.date(2022, 1, 2)"),
    ],
)
def test_shown(value, text):
    assert shown(value) == text


def test_long_values_are_shortened_from_the_middle():
    text = shown("x" * 500 + "end")
    assert len(text) == 80
    assert text.startswith("'xxx")
    assert text.endswith("end'")
    assert "..." in text
    path = shown("/data/" + "very/" * 50 + "fields_of_the_season_2022.zarr")
    assert len(path) == 80
    assert path.endswith("/fields_of_the_season_2022.zarr'")


def test_an_unknown_name_suggests_the_nearest():
    error = UnknownNameError.among("model", "Galilo", ["satmae", "galileo", "rcf"])
    assert str(error) == (
        "model = 'Galilo': unknown name. Fix: did you mean 'galileo'; known are galileo, rcf, satmae."
    )


def test_an_unknown_name_matches_whatever_the_dashes():
    assert "'sentinel-2-l2a'" in UnknownNameError.among("sensor", "SENTINEL_2_L2A", ["sentinel-2-l2a", "hls2-l30"]).fix


def test_an_unknown_name_far_from_all_lists_them():
    assert UnknownNameError.among("pooling", "zzz", ["mean", "max"]).fix == "use one of max, mean"


def test_an_unknown_name_where_nothing_is_known():
    assert UnknownNameError.among("provider", "x", []).fix == "register one first; there are none yet"


def test_many_known_names_are_counted():
    fix = UnknownNameError.among("band", "zzz", [f"b{index:02d}" for index in range(30)]).fix
    assert fix.startswith("use one of b00, b01,")
    assert fix.endswith("b11 and 18 more")
