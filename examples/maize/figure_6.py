"""Figure 6 of the paper: sixteen models at one place, each grid of vectors as colours.

``python -m examples.maize.figure_6`` reads Planetary Computer; ``--made`` draws a made landscape with drawn weights.
"""

from __future__ import annotations

from examples.maize import sixteen
from rs_embed_dask import plot

TITLE = "121.5° E, 31.2° N, June to August 2022: 4.1 km scaled to each model's input; colours of each model's own"
MADE = "A made landscape. " + TITLE
COLUMNS = 6


def figure_6(asked, out):
    fields = asked.computed(out / ("figure_6_made.zarr" if asked.made else "figure_6.zarr"))
    title = MADE if asked.made else TITLE
    columns = min(COLUMNS, len(fields) + 1)
    return plot.compare(fields, scene=asked.scene(), columns=columns, title=title)


if __name__ == "__main__":
    sixteen.draw("figure_6", figure_6, __doc__)
