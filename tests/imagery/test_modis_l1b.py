"""The integers of MOD021KM, channel by channel, against Planck's law written out the other way."""

from __future__ import annotations

import numpy as np
import pytest

from rs_embed_dask.errors import ModelInputError, UnknownNameError
from rs_embed_dask.imagery.modis_l1b import EMISSIVE, REFLECTIVE, percent_kelvin
from rs_embed_dask.models import card
from tests.models.later_families import small

BANDS = card("satvision").inputs[0].bands


def radiance(kelvin, wavenumber):
    """Planck's law per wavenumber (mW m-2 sr-1 cm), then per micrometre."""
    per_wavenumber = 1.191042972e-5 * wavenumber**3 / np.expm1(1.438776877 * wavenumber / kelvin)
    return per_wavenumber * wavenumber**2 * 1e-7


@pytest.mark.parametrize("name", BANDS)
def test_each_channel(name):
    counts = np.array([[2000, 15_000], [32_767, 65_535]], np.uint16)
    if name in REFLECTIVE:
        known = 100 * (np.array([2000, 15_000, 32_767]) - 316.97) * 5e-5
        scale, offset = 5e-5, 316.97
    else:
        wavenumber, slope, intercept = EMISSIVE[name]
        known = np.array([210.0, 265.0, 305.0])
        made = radiance(known * slope + intercept, wavenumber)
        scale, offset = made[2] / 32_000, 700.0
        counts.flat[:3] = np.round(made / scale + offset)
    (found,) = percent_kelvin({name: counts}, {name: scale}, {name: offset})
    assert found.dtype == np.float32
    # an integer's step is up to some tenths of a kelvin where little is radiated
    assert found.flat[1:3] == pytest.approx(known[1:], abs=0.05)
    assert found.flat[0] == pytest.approx(known[0], abs=1.5)
    assert np.isnan(found[1, 1])


def test_the_fourteen_channels_are_what_the_model_takes():
    assert {*REFLECTIVE, *EMISSIVE} == set(BANDS)
    counts = {name: np.full((128, 128), 8000 if name in REFLECTIVE else 12_000, np.uint16) for name in BANDS}
    scales = {name: 5e-5 if name in REFLECTIVE else 6e-4 for name in BANDS}
    image = percent_kelvin(counts, scales, dict.fromkeys(BANDS, 0.0))
    assert image.shape == (14, 128, 128)
    assert image[[0, 6], 0, 0] == pytest.approx(40.0)
    assert 200 < image[11, 0, 0] < 320
    assert np.isfinite(small("satvision").embed(image).data).all()


def test_other_bands_and_granules_without_a_calibration_are_refused():
    raw = np.ones((2, 2), np.uint16)
    with pytest.raises(UnknownNameError, match="B20"):
        percent_kelvin({"B20": raw}, {"B20": 1.0}, {"B20": 0.0})
    with pytest.raises(ModelInputError, match=r"calibration of B21.*attributes of its data sets"):
        percent_kelvin({"B21": raw}, {"B21": 1.0}, {})
