"""The paper's sixteen models at one place: which can run here, why the others cannot, and their grids from one read.

AlphaEarth (``gse``) and TESSERA are published by the year: of them the year of the span is read.
"""

from __future__ import annotations

import argparse
import dataclasses
import warnings
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import rs_embed_dask as rs
from examples.maize import imagery, pictures
from rs_embed_dask import plot
from rs_embed_dask.embedding import Embedding
from rs_embed_dask.errors import LicenceError, ModelError, RsEmbedError, WeightsError
from rs_embed_dask.models import card
from rs_embed_dask.models.weights import at_hand
from rs_embed_dask.specs.base import positive

PLACE = rs.PointBuffer(121.5, 31.2, buffer_m=2048)
SPAN = rs.TemporalSpec.range("2022-06-01", "2022-09-01")
MODELS = (
    *("gse", "tessera", "anysat", "thor:base", "agrifm", "terrafm:base", "terramind:small", "wildsat:vitb16"),
    *("dofa:base", "prithvi:100M-TL", "galileo:nano", "remoteclip:vitb32", "fomo", "satvision", "satmae", "scalemae"),
)
MADE_SEED = 14  # a landscape with a river there, as the real place has
SMALLEST = {"thor": "tiny", "terramind": "tiny", "prithvi": "tiny-TL"}
LARGEST_MADE = 30.0
RGB = rs.ModelSpec("rcf", options={"bands": ("red", "green", "blue")})


@dataclasses.dataclass(frozen=True)
class Sixteen:
    """What a figure is asked for: models, provider, and what may be drawn where there are no real weights.

    With `made`, imagery comes from the synthetic landscape and weights are drawn by a fixed recipe, of the smallest
    variant of a model. Models of more than `largest` million parameters are left out. The run is computed on `client`,
    or on a cluster made for it.
    """

    provider: object = "planetary_computer"
    models: tuple[str, ...] = MODELS
    made: bool = False
    largest: float = float("inf")
    accept_licence: bool = False
    client: object = None

    @cached_property
    def source(self):
        """The open provider."""
        if self.made:
            return rs.open_provider("synthetic", seed=MADE_SEED, cloud=0.2)
        return rs.open_provider(self.provider) if isinstance(self.provider, str) else self.provider

    def spec(self, name):
        """The spec of a model by its name."""
        spec = rs.ModelSpec.of(name)
        if not self.made:
            return dataclasses.replace(spec, accept_licence=self.accept_licence)
        variant = SMALLEST.get(spec.id, spec.variant)
        return rs.ModelSpec(spec.id, variant, weights="random" if card(spec.id).variant(variant).weights else "auto")

    @cached_property
    def judged(self):
        """Specs of the models that can run, by label, and of each of the others the error that says why."""
        able, absent = {}, {}
        for spec in map(self.spec, self.models):
            try:
                self.check(spec)
            except RsEmbedError as error:
                absent[spec.label] = error
            else:
                able[spec.label] = spec
        return able, absent

    def check(self, spec):
        """Raise why a model cannot run: vectors that are not computed, no such imagery, its size, or no weights."""
        of = card(spec.id)
        if self.made and of.kind == "product":
            reason = "its vectors are published, not computed; there are none of a made landscape"
            raise ModelError("model", value=spec.id, reason=reason, fix="leave --made out")
        rs.plan(PLACE, [spec], SPAN, provider=self.source, output="grid")
        size = of.variant(spec.variant).params
        if size > self.largest:
            reason = f"its {size:,.0f} million parameters are more than the {self.largest:,.0f} million allowed here"
            raise ModelError("model", value=spec.id, reason=reason, fix="allow more, by --largest")
        at_hand(of, spec)

    def tell(self):
        """Print which models cannot run, with what to do, and what is read for the others."""
        able, absent = self.judged
        for label, error in absent.items():
            print(f"without {label}: {error}")
        if able:
            with resizing():
                print(rs.plan(PLACE, list(able.values()), SPAN, provider=self.source, output="grid", prep="resize"))

    def computed(self, out):
        """Grids of the models that can run, by name, and of the others a text that says why; `out` is the store."""
        able, absent = self.judged
        if not able:
            fix = "fetch weights (rs-embed-dask weights fetch ID), name other models, or use --made"
            raise ModelError("models", value=list(absent), reason="none of them can run here", fix=fix)
        asked = {"provider": self.source, "output": "grid", "prep": "resize"}
        with resizing():
            run = rs.compute_embeddings(
                PLACE, list(able.values()), SPAN, out=out, progress=False, client=self.client, **asked
            )
        blank = {label: reason_of(error) for label, error in absent.items()}
        found = {label: grid_or_reason(run, label) for label in able} | blank
        return {label: found[label] for label in (self.spec(name).label for name in self.models)}

    def scene(self):
        """The place in true colour, as a model would get it."""
        cube = rs.inspect_input(RGB, PLACE, SPAN, provider=self.source)["s2"]
        return plot.SceneImage.of(cube.to_xarray())


@contextmanager
def resizing():
    """Leave out the warning that a resize changes what a token covers: that is what the figures show."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "a resize changes what a token covers")
        yield


def reason_of(error):
    """Why a model is blank, in a few words; of weights also which, or which licence."""
    named = isinstance(error, LicenceError | WeightsError)
    return f"{error.reason} ({error.value})" if named else error.reason


def grid_or_reason(run, label):
    """The grid that a run has of its only place, or why it has none."""
    of = run[label]
    if not of["grid_shape"].to_numpy().all():
        return str(of["reason"].to_numpy()[0])
    return Embedding(run.rs.grid(0, label), {"weights": run.rs.receipt["weights"].get(label, {})})


def command(about, arguments=None):
    """The options of a figure's command line, and where the figure goes."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    imagery.add_options(parser)
    parser.add_argument("--models", nargs="+", help="models, such as galileo:nano; default: those of the paper")
    parser.add_argument("--made", action="store_true", help="a made landscape and drawn weights: offline, no meaning")
    parser.add_argument("--largest", type=float, help="leave out models of more million parameters than this")
    parser.add_argument("--accept-licence", action="store_true", help="accept the licences of restricted weights")
    parser.add_argument("--out", type=Path, default=Path("maize-out"), help="where stores and figures go")
    return parser, parser.parse_args(arguments)


def asked_of(told, models=MODELS):
    """What a command line asks for."""
    provider = told.provider if told.made else imagery.opened(told)
    largest = LARGEST_MADE if told.made else float("inf")
    if told.largest is not None:
        largest = positive("--largest", told.largest, unit="million parameters")
    asked = {"made": told.made, "largest": largest, "accept_licence": told.accept_licence}
    return Sixteen(provider, tuple(told.models or models), **asked)


def draw(name, figure, about, arguments=None, models=MODELS):
    """Draw a figure, a function of what is asked and the folder of its stores, into a PNG file."""
    parser, told = command(about, arguments)
    try:
        pictures.made_folder(told.out)
        asked = asked_of(told, models)
        asked.tell()
        pictures.saved(figure(asked, told.out), told.out / f"{name}.png")
    except RsEmbedError as error:
        parser.error(str(error))
