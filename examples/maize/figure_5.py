"""Figure 5 of the paper: R2 and RMSE of every model, random places beside spatial blocks.

``python -m examples.maize.figure_5 --yields spam2020V2r0_global_Y_TA.csv --areas spam2020V2r0_global_H_TA.csv``
"""

from __future__ import annotations

from examples.maize import pictures, study


def figure_5(study):
    return pictures.bars(study.told)


if __name__ == "__main__":
    study.draw({"figure_5": figure_5}, __doc__)
