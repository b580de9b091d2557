"""The parts of README.md that are made from the cards: ``python -m tests.readme_tables --write`` renews them."""

from __future__ import annotations

import sys
from pathlib import Path

from rs_embed_dask.models import all_cards

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- models:begin -->", "<!-- models:end -->"


def row(card):
    variants = ", ".join(variant.name for variant in card.variants)
    inputs = ", ".join("+".join(names) for names in card.modalities) or card.inputs[0].modality
    frames = "one image" if card.inputs[0].frames.policy == "single" else "a series"
    weights = card.variant(None).weights
    licence = weights.licence if weights else "none needed"
    return f"| `{card.id}` | {card.title} | {variants} | {inputs} | {frames} | {card.dim_text} | {licence} |"


def table(rows):
    head = "| id | what | variants | reads | time | numbers a vector | weights |"
    return "\n".join([head, "|---|---|---|---|---|---|---|", *rows])


class Shown:
    """A card with the length of its vector in words."""

    def __init__(self, card):
        self._card = card

    def __getattr__(self, name):
        return getattr(self._card, name)

    @property
    def dim_text(self):
        if self.dim_per is None:
            return ", ".join(dict.fromkeys(str(variant.dim) for variant in self.variants))
        name, times = self.dim_per
        chosen = self.chosen(())[name]
        count = len(chosen) if isinstance(chosen, tuple) else chosen
        return str((count or len(self.inputs[0].bands)) * times)


def renewed(text):
    """README.md with the table made anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table(row(Shown(card)) for card in all_cards())}\n{END}{after}"


if __name__ == "__main__":
    found = README.read_text("utf-8")
    if "--write" in sys.argv:
        README.write_text(renewed(found), "utf-8")
    sys.exit(0 if renewed(found) == README.read_text("utf-8") else 1)
