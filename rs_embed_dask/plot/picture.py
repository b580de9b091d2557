"""A figure that a notebook shows as it is; the one module here that imports matplotlib when it is imported."""

from __future__ import annotations

from io import BytesIO

from matplotlib.figure import Figure

__all__ = ["Picture"]


class Picture(Figure):
    """A figure without pyplot, which a notebook shows though no backend was chosen."""

    def _repr_png_(self) -> bytes:
        held = BytesIO()
        self.savefig(held, format="png")
        return held.getvalue()
