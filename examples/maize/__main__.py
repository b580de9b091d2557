"""The paper's use case, maize yield in Illinois, from SPAM2020's files to Figures 4, 5, 7 and 8: see docs/maize.md.

``python -m examples.maize --yields spam2020V2r0_global_Y_TA.csv --areas spam2020V2r0_global_H_TA.csv``
"""

from __future__ import annotations

from examples.maize import study
from examples.maize.figure_4 import figure_4
from examples.maize.figure_5 import figure_5
from examples.maize.figure_7 import figure_7
from examples.maize.figure_8 import figure_8

FIGURES = {"figure_4": figure_4, "figure_5": figure_5, "figure_7": figure_7, "figure_8": figure_8}

if __name__ == "__main__":
    study.draw(FIGURES, __doc__)
