"""Figure 4 of the paper: the places with their yields and areas of maize.

``python -m examples.maize.figure_4 --yields spam2020V2r0_global_Y_TA.csv --areas spam2020V2r0_global_H_TA.csv``
"""

from __future__ import annotations

from examples.maize import pictures, study


def figure_4(study):
    return pictures.places_map(study.table, study.outline)


if __name__ == "__main__":
    study.draw({"figure_4": figure_4}, __doc__)
