"""What counts of a polygon: the tokens inside its shape, or all of the box around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rs_embed_dask.errors import SpecError

if TYPE_CHECKING:
    from rs_embed_dask.models import Card
    from rs_embed_dask.specs import OutputSpec

__all__ = ["box_note", "within"]


def within(card: Card, output: OutputSpec) -> Literal["shape", "box"]:
    """Return what counts of a polygon. Raises SpecError where a vector of the whole image is to be confined."""
    if output.within == "box":
        return "box"
    pooling = "" if output.mode == "grid" else card.pooling(output)
    if pooling not in {"cls", *card.whole}:
        return "shape"
    if output.within == "shape":
        rest = [name for name in card.poolings if name not in {"cls", *card.whole}]
        reason = f"its vector {pooling!r} is of the whole image, which no shape can confine"
        fix = f"use within='box', or pooling={rest[0]!r}" if rest else "use within='box'"
        raise SpecError(f"{card.id}: within", value="shape", reason=reason, fix=fix)
    return "box"


def box_note(card: Card, output: OutputSpec) -> str:
    """Say why a polygon is its box, where nobody asked for that."""
    if output.within == "box" or within(card, output) == "shape":
        return ""
    return f"of the box around the polygon, as its vector {card.pooling(output)!r} is of the whole image"
