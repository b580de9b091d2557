"""Mirrors of the three products on loopback, made once, and what a process remembers of them forgotten."""

from __future__ import annotations

import pytest

from rs_embed_dask.products import mirror, tessera_zarr, zarr_mirror
from rs_embed_dask.products.tessera import registry_of
from tests.products import mirrors
from tests.services.fixtures import forget_heads


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """Folders ``gse``, ``old`` and ``new`` (TESSERA) and ``copernicus`` and ``full`` behind one server."""
    top = tmp_path_factory.mktemp("mirrors")
    mirrors.gse_mirror(top / "gse")
    mirrors.tessera_mirror(top / "new")
    mirrors.tessera_mirror(top / "old", layout="0.7")
    mirrors.tessera_zarr(top / "new")
    mirrors.copernicus_mirror(top / "copernicus")
    mirrors.copernicus_mirror(top / "full", empty=False)
    with mirrors.Mirror(top) as server:
        yield server


@pytest.fixture(autouse=True)
def new_process():
    """Every test begins without tables or heads of files."""
    mirror._size.cache_clear()
    mirror._table.cache_clear()
    registry_of.cache_clear()
    tessera_zarr.forget_zones()
    zarr_mirror.forget_indexes()
    forget_heads()


@pytest.fixture(autouse=True)
def no_faults(served):
    yield
    served.fault = lambda path: None


@pytest.fixture
def product(served, tmp_path):
    """Makes the spec of a product that reads the server, with a cache of its own."""
    import rs_embed_dask as rs

    def make(name, folder=None, **options):
        own = {"dim": 4} if name == "copernicus" else {}
        where = {"base_url": f"{served.url}/{folder or name}", "cache": str(tmp_path / "cache")}
        return rs.ModelSpec(name, options=where | own | options)

    return make
