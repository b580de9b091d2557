"""Whether a product can be read from here, in the rows of a provider's check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rs_embed_dask.errors import NoImageryError
from rs_embed_dask.providers.checks import ServiceQuestion, Trial, ask_all, host_questions
from rs_embed_dask.specs import PointBuffer, TemporalSpec

if TYPE_CHECKING:
    from rs_embed_dask.products.field import ProductField, Reader
    from rs_embed_dask.providers.registry import Check

__all__ = ["checkup_product"]

_BUFFER_M: Final = 80.0


def checkup_product(reader: Reader, trial: Trial | None = None) -> list[Check]:
    """Ask for the host of a product, and for what it lists and has at one place."""
    where = trial or Trial()
    found: list[ProductField] = []

    def search() -> tuple[bool, str]:
        grid = reader.grid(PointBuffer(where.lon, where.lat, _BUFFER_M), None, crs=None)
        try:
            found.append(reader.read(grid, TemporalSpec.year(where.span.start.year)))
        except NoImageryError as nothing:
            return True, f"yes: {nothing}"
        return True, f"yes: {', '.join(found[0].tiles)}"

    def block() -> tuple[bool | None, str]:
        if not found:
            return None, "not asked, for nothing is there; name a place and year with --at and --year"
        dim, rows, columns = found[0].values.shape
        share = float(found[0].valid.mean())
        return True, f"yes: {rows} x {columns} vectors of {dim} dimensions, {share:.0%} with data"

    token = ServiceQuestion("one token", lambda: (True, "none is needed"))
    return ask_all(
        [*host_questions(reader), token, ServiceQuestion("one search", search), ServiceQuestion("one block", block)]
    )
