"""Reading from a served catalogue with few words."""

from __future__ import annotations

import numpy as np

from rs_embed_dask.imagery.cube import Read
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.providers import load
from rs_embed_dask.providers.stac.provider import StacProvider
from rs_embed_dask.specs.fetch import FetchSpec
from tests.services.scenes import grid

JUNE = Span("2022-06-01", "2022-07-01")
JULY = Span("2022-07-01", "2022-08-01")


def provider(service, **options):
    return StacProvider(service.url, source="planetary_computer", **options)


def read(*bands, where=None, frames=(JUNE,), sensor="sentinel-2-l2a", **fetch):
    return Read(where or grid(), sensor, bands or ("red",), frames, FetchSpec(**fetch))


def cube(service, wanted=None, **options):
    return load(provider(service, **options), wanted or read())


def only(array):
    """The one number that an array holds throughout."""
    values = np.unique(array)
    assert values.size == 1, values
    return float(values[0])
