"""The page on correctness: what each model was compared with, how far the two agree, what was left out."""

from __future__ import annotations

import re
from decimal import Decimal

from rs_embed_dask.models import all_cards

METHOD = """# Correctness

Which of these models can you trust to be the one that its authors published? This page says for each what was
compared with what, how far the two agree, and what was not compared. It is made from the cards and from
[parity.json](parity.json), the record of a run of all cases.

## How it was measured

- **The authors' code** is the public code that is named with each model, at that commit or version: the authors' own
  repository, or the library in which the model is commonly run (terratorch, torchgeo, open_clip). It was run on a CPU
  in float32, and what went in and came out was kept. The encoders of this package were written anew.
- **A case** is a variant with its weights, an input with what goes beside it (dates, place, ground size), and the
  outputs expected: vectors, tokens, grids, and for some models what the network is shown after preparation. Small
  outputs are kept whole; of large ones a sample drawn from a seed, and the mean and deviation of all.
- **Weights** are drawn from a seed and each tensor's name, the same on both sides, unless real ones are mentioned.
  Every tensor of the encoder takes part, so that a wrong layer, order, norm or constant shows. Names and shapes are
  those of the published file, unless the model's page says otherwise.
- **The error** is ||ours - theirs|| / ||theirs|| over a whole output. The largest of all cases is shown, rounded up to
  a 1, 2 or 5.
- **A case allows** ten times what the authors' own float32 is off their float64, but at least 2e-6; and 1e-5 where that
  was not stated. Slips cost far more: where it was measured, the figure stands with the differences below.
- **Products**, which are read and not computed, are compared with samples that were made in the published format:
  "exact" says that decoded pixels are the same bit for bit, and means the same to the rounding of float32.

`python -m tests.parity DIR` repeats all cases of a folder; the suite repeats those that lie with it whenever it runs.

## What the figures do not say

- Nothing of how well a model serves your task; and nothing of variants, inputs and options that were not compared.
- Nothing of the published weights, unless real ones are mentioned: drawn weights test the arithmetic. A file that you
  load is checked name by name, and by its digest where the card has one.
- An error over a whole output hides single values, which may be further off, the smallest above all.
- They hold for float32 on a CPU. A GPU rounds otherwise, and half precision is far coarser.
- A case begins with an array. Which scenes were read, how clouds were masked and frames composed changes vectors by far
  more than any error here; the receipt of a store says what was done.

"Differs" says that rs-embed 0.2.1 gives other numbers, or none, for the same request, for the reasons listed. Here the
authors are followed; where rs-embed's way can be asked for, the option stands in brackets."""

KINDS = {"input": "what the network sees", "vectors": "vectors", "tokens": "tokens and grids"}
ABSENT = re.compile(r"rs-embed has no (such model|adapter)")
NO_MODEL, NONE_KNOWN, NOT_RECORDED = "has no such model", "no difference known", "not recorded"


def page(record, told):
    """Write the page from the record of parity; `told(card, entry)` is the list of what a figure rests on."""
    cards = all_cards()
    head = "| model | largest error | compared with | weights | cases | variants | rs-embed 0.2.1 |"
    rule = "|---|---|---|---|---|---|---|"
    table = "\n".join([head, rule, *(_row(card, record.get(card.id)) for card in cards)])
    parts = [METHOD, "## Summary", table, *(_section(card, record.get(card.id), told) for card in cards)]
    return "\n\n".join(parts) + "\n"


def figure(value):
    """Write an error in short."""
    return f"{value:.0e}".replace("e-0", "e-") if value else "bit for bit"


def errors(entry):
    """Say the errors of one model, and what share of a case's allowance the largest took."""
    each = "; ".join(f"{KINDS[name]} {figure(value)}" for name, value in entry["error"].items())
    share = f"{Decimal(str(entry['of_allowance'])) * 100:f}"
    return f"{each}; at most {share.rstrip('0').rstrip('.') if '.' in share else share} % of what a case allows"


def _row(card, entry):
    cells = [f"[`{card.id}`](#{card.id})", *_summary(card, entry), _differs(card)]
    return f"| {' | '.join(cells)} |"


def _summary(card, entry):
    if entry is not None:
        weights = "real ones too" if entry["real_weights"] else "drawn"
        known = [variant for variant in card.variants if variant.name in entry["variants"]]
        variants = f"{len(known)} of {len(card.variants)}"
        largest = figure(max(entry["error"].values()))
        return largest, _short(entry["compared_with"]), weights, str(entry["cases"]), variants
    if card.kind == "product":
        return card.parity.partition(":")[0], "samples in the published format", "", "", ""
    if not card.parity:
        return "nothing to compare", "", "", "", ""
    return NOT_RECORDED, "", "", "", ""


def _short(compared_with):
    """Cut what a model was compared with down to the code's name and version."""
    return re.split(r", |: | \(|; ", compared_with, maxsplit=1)[0]


def _differs(card):
    if any(ABSENT.search(text) for text in card.deviations):
        return NO_MODEL
    return "differs" if card.deviations else NONE_KNOWN if card.parity else "not compared"


def _section(card, entry, told):
    lines = [f"## {card.id}", f"{card.title}. All facts: [its page](models/{card.id}.md)."]
    points = told(card, entry) if entry is not None else _unrecorded(card)
    lines.append("\n".join(f"- {point}" for point in points))
    if card.deviations and _differs(card) != NO_MODEL:
        lines.append("rs-embed 0.2.1 differs:")
        lines.append("\n".join(f"- {text}" for text in card.deviations))
    return "\n\n".join(lines)


def _unrecorded(card):
    if card.kind == "product":
        return [f"{card.parity[:1].upper()}{card.parity[1:]}. No published file is in the suite."]
    if not card.parity:
        return ["Nothing to compare with: this package defines what it computes, and tests it by known answers."]
    told = f"{NOT_RECORDED.capitalize()}: [parity.json](parity.json) has no run of its cases."
    return [f"{told} The card says: {card.parity}."]
