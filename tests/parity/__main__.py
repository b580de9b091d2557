"""Runs models against published numbers: ``python -m tests.parity DIR [--models A,B] [--cases X,Y] [--write FILE]``."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np

from rs_embed_dask.errors import RsEmbedError
from tests.memory import give_back
from tests.parity import record
from tests.parity.adapters import ADAPTERS
from tests.parity.cases import Case, NotUnderstoodError, read_cases
from tests.parity.compare import Row, compare

FAULTS = (RsEmbedError, LookupError, TypeError, ValueError, RuntimeError, OSError, ArithmeticError)


def run(case: Case) -> list[Row]:
    """Run one case; whatever goes wrong is a row that has not passed.

    A case with a field that nobody read is not understood, whatever its outputs are.
    """
    whole = partial(Row, case.model, case.name, "-", np.nan, np.nan)
    try:
        outputs = ADAPTERS.get(case.model, _no_adapter)(case)
        rows = compare(case, outputs) or [whole("FAILED: nothing is expected of it")]
        case.check_read()
    except NotUnderstoodError as fault:
        rows = [whole(str(fault)[:300], understood=False)]
    except FAULTS as fault:
        # The adapter may have stopped because of a field it does not know, or before it came to one that it does.
        unread = f" (not read before: {', '.join(case.unread)})" if case.unread else ""
        rows = [whole(f"ERROR: {type(fault).__name__}: {fault}"[:300] + unread)]
    give_back()
    return rows


def _no_adapter(case: Case) -> NoReturn:
    raise NotUnderstoodError(f"no adapter for {case.model}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with ID/parity.json and ID/parity.npz")
    parser.add_argument("--models", type=lambda text: text.split(","), help="ids, with commas between")
    parser.add_argument("--cases", type=lambda text: text.split(","), help="parts of case names, with commas between")
    parser.add_argument("--write", type=Path, metavar="FILE", help="renew the record if every case passed")
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
    sys.stdout.write(_summary(len(cases), rows))
    passed = all(row.passed for row in rows)
    if given.write and passed:
        by_model = {
            name: ([c for c in cases if c.model == name], [r for r in rows if r.model == name]) for name in modalities
        }
        record.write(given.write, {name: record.entry(*parts, modalities[name]) for name, parts in by_model.items()})
    return 0 if passed else 1


def _summary(cases: int, rows: list[Row]) -> str:
    not_understood = sum(not row.understood for row in rows)  # one row per such case
    failed = sum(not row.passed for row in rows) - not_understood
    text = f"{_count(cases, 'case')}, {_count(len(rows) - not_understood, 'output')}, {failed} failed"
    return text + (f", {_count(not_understood, 'case')} not understood\n" if not_understood else "\n")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


if __name__ == "__main__":
    sys.exit(main())
