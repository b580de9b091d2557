"""The page on correctness: what each model was compared with, how closely they agree, and what was not compared."""

from __future__ import annotations

import re
from decimal import Decimal

from rs_embed_dask.models import all_cards

METHOD = """# Correctness

How closely does each model here reproduce the one that its authors published? For each model, this page states what
was compared with what, how closely the two agree, and what was not compared. It is generated from the cards and from
[parity.json](parity.json), the record of a run of all cases.

## How it was measured

- **The authors' code** is the public code named with each model, at that commit or version: the authors' own
  repository, or the library in which the model is commonly run (terratorch, torchgeo, open_clip). It was run on a CPU
  in float32, and its inputs and outputs were recorded. The encoders of this package were written from scratch.
- **A case** is a variant with its weights, an input with its side inputs (dates, place, ground size), and the expected
  outputs: vectors, tokens, grids, and for some models the network's input after preprocessing. Small outputs are
  recorded in full; of large ones, a seeded random sample and the mean and standard deviation of all values.
- **Weights** are drawn from a seed and each tensor's name, identically on both sides, unless real ones are mentioned.
  Every tensor of the encoder affects the result, so a wrong layer, order, norm or constant shows. Names and shapes are
  those of the published file, unless the model's page states otherwise.
- **The error** is ||ours - theirs|| / ||theirs|| over a whole output. The largest over all cases is shown, rounded up
  to 1, 2 or 5 times a power of ten.
- **The tolerance of a case** is ten times the difference between the authors' own float32 and float64 results, but at
  least 2e-6; it is 1e-5 where that difference was not stated. Implementation mistakes cause far larger errors; where
  this was measured, the figure is given with the differences below.
- **Products**, which are read and not computed, are compared with samples created in the published format. "Exact"
  means that decoded pixels are bit-identical and that means agree to within float32 rounding.

`python -m tests.parity DIR` repeats all cases of a folder; the test suite always repeats the cases stored with it.

## What the figures do not show

- How well a model serves your task, and anything about variants, inputs and options that were not compared.
- Anything about the published weights, unless real ones are mentioned: drawn weights test the arithmetic. A file that
  you load is checked name by name, and against its digest where the card has one.
- The error of single values. An error over a whole output can hide larger relative errors, above all in the smallest.
- Other hardware and precisions. The figures hold for float32 on a CPU. A GPU rounds differently, and half precision is
  far coarser.
- Everything before the arrays. A case starts from an array. Which scenes were read, how clouds were masked and how
  frames were composited change vectors by far more than any error here; a store's receipt records these choices.

"Differs" means that rs-embed 0.3.1 returns different numbers, or none, for the same request, for the reasons listed.
This package follows the authors; where rs-embed's behaviour can be requested, the option is given in parentheses."""

KINDS = {"input": "what the network sees", "vectors": "vectors", "tokens": "tokens and grids"}
ABSENT = re.compile(r"rs-embed has no (such model|adapter)")
NO_MODEL, NONE_KNOWN, NOT_RECORDED = "has no such model", "no difference known", "not recorded"


def page(record, evidence):
    """Return the page for a parity record; `evidence(card, entry)` lists what a figure is based on."""
    cards = all_cards()
    head = "| model | largest error | compared with | weights | cases | variants | rs-embed 0.3.1 |"
    rule = "|---|---|---|---|---|---|---|"
    table = "\n".join([head, rule, *(_row(card, record.get(card.id)) for card in cards)])
    parts = [METHOD, "## Summary", table, *(_section(card, record.get(card.id), evidence) for card in cards)]
    return "\n\n".join(parts) + "\n"


def figure(value):
    """Format an error briefly."""
    return f"{value:.0e}".replace("e-0", "e-") if value else "bit for bit"


def errors(entry):
    """Format the errors of one model, and the largest share of a case's tolerance."""
    each = "; ".join(f"{KINDS[name]} {figure(value)}" for name, value in entry["error"].items())
    share = f"{Decimal(str(entry['of_allowance'])) * 100:f}"
    return f"{each}; at most {share.rstrip('0').rstrip('.') if '.' in share else share} % of what a case allows"


def _row(card, entry):
    cells = [f"[`{card.id}`](#{card.id})", *_summary(card, entry), _differs(card)]
    return f"| {' | '.join(cells)} |"


def _summary(card, entry):
    if entry is not None:
        weights = "real ones too" if entry["real_weights"] else "drawn"
        compared = [variant for variant in card.variants if variant.name in entry["variants"]]
        variants = f"{len(compared)} of {len(card.variants)}"
        largest = figure(max(entry["error"].values()))
        return largest, _short(entry["compared_with"]), weights, str(entry["cases"]), variants
    if card.kind == "product":
        return card.parity.partition(":")[0], "samples in the published format", "", "", ""
    if not card.parity:
        return "nothing to compare", "", "", "", ""
    return NOT_RECORDED, "", "", "", ""


def _short(compared_with):
    """Shorten what a model was compared with to the code's name and version."""
    return re.split(r", |: | \(|; ", compared_with, maxsplit=1)[0]


def _differs(card):
    if any(ABSENT.search(text) for text in card.deviations):
        return NO_MODEL
    return "differs" if card.deviations else NONE_KNOWN if card.parity else "not compared"


def _section(card, entry, evidence):
    lines = [f"## {card.id}", f"{card.title}. All facts: [its page](models/{card.id}.md)."]
    points = evidence(card, entry) if entry is not None else _unrecorded(card)
    lines.append("\n".join(f"- {point}" for point in points))
    if card.deviations and _differs(card) != NO_MODEL:
        lines.append("rs-embed 0.3.1 differs:")
        lines.append("\n".join(f"- {text}" for text in card.deviations))
    return "\n\n".join(lines)


def _unrecorded(card):
    if card.kind == "product":
        return [f"{card.parity[:1].upper()}{card.parity[1:]}. No published file is in the suite."]
    if not card.parity:
        return ["Nothing to compare with: this package defines what it computes, and tests it against known answers."]
    text = f"{NOT_RECORDED.capitalize()}: [parity.json](parity.json) has no run of its cases."
    return [f"{text} The card states: {card.parity}."]
