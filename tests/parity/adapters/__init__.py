"""How each model runs a case: one file per model, through the model's public methods only.

A new model is one more file of its id with ``run(case) -> {output: array}``: every output by the name that the case
gives it. Outputs that the case does not ask for are ignored.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.parity.cases import Case
    from tests.parity.running import Outputs

ADAPTERS: dict[str, Callable[[Case], Outputs]] = {
    module.name: import_module(f"{__name__}.{module.name}").run for module in pkgutil.iter_modules(__path__)
}
