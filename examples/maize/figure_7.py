"""Figure 7 of the paper: predicted against true yield, of the best three models.

``python -m examples.maize.figure_7 --yields spam2020V2r0_global_Y_TA.csv --areas spam2020V2r0_global_H_TA.csv``
"""

from __future__ import annotations

from examples.maize import pictures, study


def figure_7(study):
    return pictures.against(study.told)


if __name__ == "__main__":
    study.draw({"figure_7": figure_7}, __doc__)
