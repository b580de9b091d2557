"""Runs models against published numbers: ``python -m tests.parity DIR [--models A,B] [--cases X,Y] [--write FILE]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from rs_embed_dask.errors import RsEmbedError
from tests.memory import give_back
from tests.parity import record
from tests.parity.adapters import ADAPTERS
from tests.parity.cases import Case, NotUnderstoodError, read_cases
from tests.parity.compare import Row, compare

FAULTS = (NotUnderstoodError, RsEmbedError, LookupError, TypeError, ValueError, RuntimeError, OSError, ArithmeticError)


def run(case: Case) -> list[Row]:
    """Run one case; whatever goes wrong is a row that failed."""
    adapter = ADAPTERS.get(case.model)
    try:
        if adapter is None:
            raise NotUnderstoodError(f"no adapter for {case.model}")
        rows = compare(case, adapter(case))
    except FAULTS as fault:
        rows = [Row(case.model, case.name, "-", np.nan, np.nan, f"ERROR: {type(fault).__name__}: {fault}"[:300])]
    give_back()
    return rows or [Row(case.model, case.name, "-", np.nan, np.nan, "FAILED: nothing is expected of it")]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with ID/parity.json and ID/parity.npz")
    parser.add_argument("--models", type=lambda text: text.split(","), help="ids, with commas between")
    parser.add_argument("--cases", type=lambda text: text.split(","), help="parts of case names, with commas between")
    parser.add_argument("--write", type=Path, metavar="FILE", help="renew the record, where nothing failed")
    given = parser.parse_args(arguments)
    if given.write and given.cases:
        parser.error("--write wants all cases of a model: leave --cases out")
    cases = read_cases(given.folder, given.models, given.cases)
    absent = set(given.models or ()) - {case.model for case in cases}
    if absent or not cases:
        sys.stdout.write(f"no cases{' of ' + ', '.join(sorted(absent)) if absent else ''} in {given.folder}\n")
        return 2
    sys.stdout.write(f"{'model':12} {'case':32} {'output':26} {'error':>9} {'allowed':>9}\n")
    rows: list[Row] = []
    modalities: dict[str, set[str]] = {}
    for case in cases:
        with record.seen_modalities() as seen:
            found = run(case)
        modalities.setdefault(case.model, set()).update(seen)
        rows += found
        sys.stdout.write("".join(f"{row}\n" for row in found))
        sys.stdout.flush()
    failed = sum(not row.passed for row in rows)
    sys.stdout.write(f"{len(cases)} cases, {len(rows)} outputs, {failed} failed\n")
    if given.write and not failed:
        by_model = {
            name: ([c for c in cases if c.model == name], [r for r in rows if r.model == name]) for name in modalities
        }
        record.write(given.write, {name: record.entry(*parts, modalities[name]) for name, parts in by_model.items()})
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
