"""Places for benchmarks, made when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence

from rs_embed_dask.specs import PointBuffer, TemporalSpec
from rs_embed_dask.store import Item

JUNE = TemporalSpec.range("2022-06-01", "2022-07-01")


class Row(Sequence):
    """So many places of one size, a hundred to a row."""

    def __init__(self, count, *, buffer_m=20, temporal=JUNE):
        self.count, self.buffer_m, self.temporal = count, buffer_m, temporal

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if not 0 <= index < self.count:
            raise IndexError(index)
        lon, lat = 2 + 0.02 * (index % 100), 40 + 0.002 * (index // 100)
        return Item(index, PointBuffer(lon=lon, lat=lat, buffer_m=self.buffer_m), self.temporal, str(index))
