"""The use case as one thing: places, vectors, predictions; and the command line that the figures share."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import rs_embed_dask as rs
from examples.maize import cells, imagery, pictures, vectors
from rs_embed_dask.errors import RsEmbedError, SpecError
from rs_embed_dask.models import card

FOLDS = {"random": 4, "blocks": None}  # a quarter is held out at a time, as in the paper; blocks by correlation length
FOREST = "forest"


def predict(run, table, **options):
    """Predict the yield from the vectors by Random Forest, held out at random and in blocks."""
    return rs.benchmark(run, vectors.labels(run, table), **({"probes": FOREST, "folds": FOLDS} | options))


@dataclass(frozen=True)
class Study:
    """What a command was asked for; each step is done when a figure needs it."""

    asked: argparse.Namespace

    @cached_property
    def table(self):
        """The places: see `cells.chosen_cells`."""
        asked = self.asked
        found = cells.chosen_cells(asked.yields, asked.areas, state=asked.state, outline=asked.outline)
        print(cells.counted(found, state=asked.state))
        return found

    @cached_property
    def outline(self):
        """The shape of the state, or None."""
        return None if self.asked.outline is None else cells.read_outline(self.asked.outline)

    @cached_property
    def provider(self):
        """Where imagery comes from."""
        return imagery.opened(self.asked)

    def check(self):
        """Refuse a place, a model or a provider that cannot be, before anything is read or drawn."""
        rs.PointBuffer(0, 0, buffer_m=self.asked.buffer_m)
        for spec in map(rs.ModelSpec.of, self.asked.models or ()):
            card(spec.id).variant_for(spec)
        if self.asked.export is not None and self.asked.models:
            fix = "leave --models out, or --export to compute them"
            raise SpecError("--models", value=self.asked.models, reason="--export brings its own models", fix=fix)
        if self.asked.export is None:
            self.provider  # noqa: B018 - opened once

    @cached_property
    def run(self):
        """The vectors, of an export or computed."""
        asked = self.asked
        if asked.export is not None:
            run = vectors.imported(asked.export)
        else:
            models, reasons = vectors.judged(
                self.table, self.provider, asked.models, accept_licence=asked.accept_licence
            )
            tell(reasons)
            print(f"with {', '.join(spec.label for spec in models) or 'no model'}")
            out = asked.out / "vectors.zarr"
            run = vectors.computed(self.table, models, out=out, provider=self.provider, buffer_m=asked.buffer_m)
        run, reasons = vectors.able(run, self.table)
        tell(reasons)
        print(vectors.joined(run, self.table))
        return run

    @cached_property
    def told(self):
        """The benchmark."""
        found = predict(self.run, self.table)
        print(found)
        return found


def tell(reasons):
    """Print which models take no part, and why."""
    for name, reason in reasons.items():
        print(f"without {name}: {reason}")


def options(about):
    """The options that every figure has."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--yields", type=Path, required=True, help="SPAM2020 V2r0's yield: the GeoTIFF or the table")
    parser.add_argument("--areas", type=Path, required=True, help="its harvested area, of the same kind")
    parser.add_argument("--outline", type=Path, help="a vector file of the state: rasters need it, maps show it")
    parser.add_argument("--state", default=cells.STATE, help="the state as the tables name it")
    parser.add_argument(
        "--export", type=Path, help="an export of rs-embed, whose vectors are taken instead of computed"
    )
    imagery.add_options(parser)
    parser.add_argument("--models", nargs="+", help="models, such as galileo:nano; default: all that can run")
    parser.add_argument("--accept-licence", action="store_true", help="accept the licences of restricted weights")
    parser.add_argument("--buffer-m", type=float, default=vectors.BUFFER_M, help="half the side of a place, in metres")
    parser.add_argument("--out", type=Path, default=Path("maize-out"), help="where vectors and figures go")
    return parser


def draw(figures, about, arguments=None):
    """Draw figures, functions of a study by name, into PNG files."""
    parser = options(about)
    study = Study(parser.parse_args(arguments))
    try:
        study.check()
        pictures.made_folder(study.asked.out)
        for name, figure in figures.items():
            pictures.saved(figure(study), study.asked.out / f"{name}.png")
    except RsEmbedError as error:
        parser.error(str(error))
