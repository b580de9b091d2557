"""Maps whose vectors follow from the ground alone, whatever the zone."""

from __future__ import annotations

import numpy as np

from rs_embed_dask.maps.lattice import lattice_for
from rs_embed_dask.specs.ground import WGS84, project
from rs_embed_dask.store.map_blocks import BlockSet
from rs_embed_dask.store.map_layout import Asked, BlockKey, MapGroup, MapLayout
from rs_embed_dask.store.map_store import MapStore
from tests.store.map_samples import REQUEST, YEAR, result_of

GROUND = MapLayout("ground", dim=4, token_m=2000.0, block=16, dtype="float32")


def smooth(lon, lat):
    """Vectors that follow from the ground alone, whatever the zone; (4, rows, columns)."""
    return np.stack([lon * 50, lat * 50, np.sin(lon * 9) * 4 + np.cos(lat * 9) * 4, lon * 0]).astype("float32")


def lattice(group):
    return lattice_for(group, GROUND.token_m, GROUND.block)


def owned_vectors(group, row, col):
    own = lattice(group)
    rect = own.rect(row, col)
    return np.where(own.owned(rect), smooth(*own.lonlat(rect)), np.float32(np.nan))


def make_ground(path, places, **receipt):
    """A map of the blocks around some places (lon, lat) of groups, in one span."""
    asked = {}
    for group, corners in places.items():
        own = lattice(group)
        x, y = project(WGS84, own.crs, *np.asarray(corners, float).T)
        at = [tuple(one // GROUND.block for one in own.index(*xy)) for xy in zip(x, y, strict=True)]
        rows, cols = zip(*at, strict=True)
        box = (min(rows), min(cols), max(rows) + 1, max(cols) + 1)
        asked[MapGroup.from_dict(own.to_dict())] = BlockSet.of_rectangles([box])
    store = MapStore.create(path, [Asked(GROUND, (YEAR,), asked)], request=REQUEST)
    for group, time, blocks in list(store.pending("ground")):
        for row, col in blocks:
            key = BlockKey("ground", group.group, time, row, col)
            store.write_block(key, result_of(GROUND, key, embedding=owned_vectors(group.group, row, col)))
    store.update_receipt(**receipt)
    return path
