"""What the colours of a map of classes or values stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.patches import Patch

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from rs_embed_dask.store.export.palette import Palette

__all__ = ["draw_legend"]

_ROWS: Final = 20


def draw_legend(axes: Axes, palette: Palette, title: str) -> None:
    """Draw a patch for each class beside the map, or a bar of values."""
    if palette.names:
        pairs = zip(palette.names, palette.table, strict=True)
        patches = [Patch(facecolor=tuple(colour), label=name) for name, colour in pairs]
        columns = -(-len(patches) // _ROWS)
        legend = axes.legend(handles=patches, frameon=False, fontsize=8, ncols=columns, loc="upper left")
        legend.set_bbox_to_anchor((1.01, 1))
        return
    ramp = LinearSegmentedColormap.from_list("values", [tuple(one) for one in palette.table])
    bar = axes.figure.colorbar(ScalarMappable(Normalize(palette.low, palette.high), ramp), ax=axes, shrink=0.7)
    bar.set_label(title, fontsize=8)
    bar.ax.tick_params(labelsize=8)
