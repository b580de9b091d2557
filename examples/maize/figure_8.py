"""Figure 8 of the paper: maps of true, predicted and residual yield, of the best model.

``python -m examples.maize.figure_8 --yields spam2020V2r0_global_Y_TA.csv --areas spam2020V2r0_global_H_TA.csv``
"""

from __future__ import annotations

from examples.maize import pictures, study, vectors


def figure_8(study):
    return pictures.maps(study.told, vectors.codes(study.run), study.outline)


if __name__ == "__main__":
    study.draw({"figure_8": figure_8}, __doc__)
