"""What a run showed, kept in ``docs/parity.json``: coarse figures, so that rounding elsewhere changes nothing."""

from __future__ import annotations

import json
import math
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

from rs_embed_dask.errors import UnknownNameError
from rs_embed_dask.inference.model import Model
from rs_embed_dask.models import card
from tests.parity.cases import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.parity.cases import Case
    from tests.parity.compare import Row

RECORD = REPOSITORY / "docs" / "parity.json"
ABOUT = (
    "Written by `python -m tests.parity DIR --write docs/parity.json`. Errors are ||ours - theirs|| / ||theirs||, the "
    "largest of all cases, rounded up to 1, 2 or 5; of_allowance is the largest share of what a case allows."
)
STEPS = (1, 2, 5, 10)
OTHER = "other bands"
SHRUNKEN = "another size"
SLACK = 10  # a figure that is at most this many times too large still holds
_VECTORS = re.compile(r"pooled|^cls$|^backbone$|_head$|GAP$|^tile$|_mean$")


@contextmanager
def seen_modalities() -> Iterator[set[str]]:
    """Collect the modalities that models get tokens of, whatever adapter runs them."""
    seen: set[str] = set()
    tokens = Model.tokens

    def watched(self: Model, batch: Any) -> Any:
        known = [inputs.modality for inputs in self.card.inputs if inputs.modality in batch.images]
        seen.add("+".join(known) or OTHER)
        return tokens(self, batch)

    with mock.patch.object(Model, "tokens", watched):
        yield seen


def rounded_up(value: float) -> float:
    """Round up to one digit: 1, 2 or 5 times a power of ten; 0 stays 0."""
    if value == 0:
        return 0.0
    power = math.floor(math.log10(value))
    step = next(step for step in STEPS if value <= step * 10.0**power * (1 + 1e-9))
    return float(f"{step}e{power}")


def kind(output: str) -> str:
    """Say whether an output is what the network saw, a vector, or tokens and grids."""
    return "input" if output == "model_input" else "vectors" if _VECTORS.search(output) else "tokens"


def entry(cases: list[Case], rows: list[Row], modalities: set[str]) -> dict[str, Any]:
    """Summarise the rows of one model's cases, all of which passed."""
    errors: dict[str, float] = {}
    for row in rows:
        errors[kind(row.output)] = max(errors.get(kind(row.output), 0.0), row.error)
    shares = [row.error / row.allowed for row in rows if row.allowed]
    return {
        "cases": len(cases),
        "outputs": len(rows),
        "variants": sorted({variant(case) for case in cases}),
        "modalities": sorted(modalities),
        "real_weights": any("file" in case.facts["weights"] for case in cases),
        "error": {name: rounded_up(errors[name]) for name in ("input", "vectors", "tokens") if name in errors},
        "of_allowance": rounded_up(max(shares, default=0.0)),
        "compared_with": compared_with(cases[0]),
    }


def variant(case: Case) -> str:
    """Name a case's variant as the card does; a network of a size of its own is none."""
    try:
        return card(case.model).variant(case.facts["variant"]).name
    except (KeyError, UnknownNameError):
        return SHRUNKEN


def compared_with(case: Case) -> str:
    """Write down, in one line, what the numbers were computed with."""
    told = json.loads((case.folder.path / case.model / "parity.json").read_text()).get("upstream", "not stated")
    if isinstance(told, str):
        return told
    commit = str(told.get("commit", ""))[:7]
    at = told.get("version") or told.get("package") or told["repo"] + (f" at {commit}" if commit else "")
    note = f" ({told['note']})" if "note" in told else ""
    if "files" in told:
        return f"{at}, {'; '.join(told['files'].values())}{note}"
    return f"{at}, {told['file']}: {told['class']}{note}"


def write(path: Path, found: dict[str, dict[str, Any]]) -> None:
    """Renew the entries of the models that ran; figures that still hold stay as they are."""
    models = json.loads(path.read_text("utf-8"))["models"] if path.exists() else {}
    for model, new in found.items():
        old = models.get(model, {})
        error = {name: _kept(old.get("error", {}).get(name), value) for name, value in new["error"].items()}
        share = _kept(old.get("of_allowance"), new["of_allowance"])
        models[model] = {**new, "error": error, "of_allowance": share}
    content = {"about": ABOUT, "models": dict(sorted(models.items()))}
    path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def _kept(old: float | None, new: float) -> float:
    return old if old is not None and new <= old <= SLACK * new else new
