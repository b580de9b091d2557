"""README's table, docs/models and docs/correctness.md, generated from cards: ``python -m tests.pages --write``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rs_embed_dask.models import all_cards
from rs_embed_dask.pages.listing import inputs_text, largest_error, list_models
from rs_embed_dask.pages.model import ModelPage
from tests import correctness_page
from tests.correctness_page import errors
from tests.parity.record import RECORD

ROOT = Path(__file__).resolve().parents[1]
README, FOLDER, CORRECTNESS = ROOT / "README.md", ROOT / "docs" / "models", ROOT / "docs" / "correctness.md"
COMMAND = "python -m tests.pages --write"
SHORT, LONG = 4, 99
BEGIN, END = "<!-- models:begin -->", "<!-- models:end -->"
MADE = f"<!-- Generated from the card by `{COMMAND}`: change the card, not this page. -->\n\n"
MADE_OF_RECORD = f"<!-- Generated from the cards and parity.json by `{COMMAND}`: edit those, not this page. -->\n\n"


def table(folder, most):
    """The models, one row each, with links to their pages in a folder and at most `most` variants by name."""
    head = "| model | what | variants | reads | dimension | licence of the weights | parity |"
    return "\n".join([head, "|---|---|---|---|---|---|---|", *(_row(row, folder, most) for row in list_models())])


def _row(row, folder, most):
    name, variants = row["id"], row["variants"]
    real = ", real weights too" if "real" in row["parity"] else ""
    left = len(variants) - most + 1
    cells = (
        f"[`{name}`]({folder}{name}.md)",
        row["title"],
        ", ".join(variants) if left < 2 else f"{', '.join(variants[: most - 1])} and {left} more",
        inputs_text(row) or "vectors that were published",
        ", ".join(dict.fromkeys(map(str, row["dim"].values()))),
        row["licence"],
        (largest_error(row["parity"]) or "none to compare") + real,
    )
    return f"| {' | '.join(cells)} |"


def readme(text):
    """README.md with its table regenerated."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table('docs/models/', SHORT)}\n{END}{after}"


def index():
    """The page of all models."""
    notes = (
        "`parity` is an upper bound of ||ours - theirs|| / ||theirs|| over all compared outputs: "
        "[how it was measured](../correctness.md).\n\n"
        "The same facts: `rs.list_models()`, `rs.describe_model(ID)`, `rs-embed-dask models`, "
        "`rs-embed-dask describe ID`."
    )
    return f"{MADE}# Models\n\n{table('', LONG)}\n\n{notes}\n"


def model_page(card, record):
    """A model's page: the text of `describe_model`, and the recorded parity figures."""
    text = ModelPage(card).to_markdown()
    if card.id in record:
        points = "\n".join(f"- {point}" for point in (card.parity, *compared(card, record[card.id])))
        text = text.replace(f"- {card.parity}\n", f"{points}\n", 1)
    return MADE + text


def compared(card, entry):
    """List what a model's figure is based on, and what was not compared."""
    weights = "real weights among them" if entry["real_weights"] else "weights drawn from a seed, none real"
    return [
        f"Compared with {entry['compared_with']}.",
        f"{entry['cases']} cases, {entry['outputs']} outputs; {weights}.",
        f"Variants {_listed(entry['variants'])}; inputs {_listed(entry['modalities'])}.",
        f"Largest error: {errors(entry)}.",
        *_left(card, entry),
    ]


def _left(card, entry):
    done = {part for names in entry["modalities"] for part in names.split("+")}
    left = {
        "variants": [variant.name for variant in card.variants if variant.name not in entry["variants"]],
        "inputs": [inputs.modality for inputs in card.inputs if inputs.modality not in done],
    }
    listed = "; ".join(f"{what} {_listed(names)}" for what, names in left.items() if names)
    return [f"Not compared (no recorded numbers): {listed}."] if listed else []


def _listed(names):
    return ", ".join(f"`{name}`" for name in names)


def documents():
    """Every generated file, with its expected content."""
    record = json.loads(RECORD.read_text("utf-8"))["models"]
    pages = {FOLDER / f"{card.id}.md": model_page(card, record) for card in all_cards()}
    correctness = MADE_OF_RECORD + correctness_page.page(record, compared)
    return {README: readme(README.read_text("utf-8")), FOLDER / "index.md": index(), CORRECTNESS: correctness, **pages}


def stale(made):
    """Files whose content differs, that are missing, or that belong to no model."""
    written = {path: path.read_text("utf-8") for path in (*made, *FOLDER.glob("*.md")) if path.exists()}
    return sorted(path for path in {*made, *written} if made.get(path) != written.get(path))


def write(made):
    """Write what is stale, and remove what is no longer generated."""
    FOLDER.mkdir(exist_ok=True)
    for path in stale(made):
        if path in made:
            path.write_text(made[path], "utf-8")
        else:
            path.unlink()


if __name__ == "__main__":
    if "--write" in sys.argv:
        write(documents())
    sys.exit(1 if stale(documents()) else 0)
