"""rs-embed's names of models, variants, modalities and options, and what each is here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask.models import all_cards, card
from rs_embed_dask.specs import ModelSpec, OutputSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rs_embed_dask.cards.card import Card

__all__ = ["card_of", "describe_model", "list_models", "modality_of", "options_of", "variant_of"]

_ALIASES: Final = {"thor_1_0_base": "thor"}
_VARIANTS: Final[Mapping[str, Mapping[str, str]]] = {
    "clay": {"large": "v1.5"},
    "olmoearth": {"nano": "nano_v1", "tiny": "tiny_v1", "base": "base_v1", "large": "large_v1"},
}
_DEFAULTS: Final = {"olmoearth": "base_v1_2"}
"""Variants that rs-embed takes by default and this package does not."""
_ONLY: Final = {"satmaepp": "large", "anysat": "base"}
"""Variants that rs-embed names although there is one size: the modality decides."""
_NAMES_OF_VARIANTS: Final = ("variant", "model_size", "model_key")
_OPTIONS: Final = {
    "patch_size": ("patch_px",),
    "image_size": ("size_px", "max_px"),
    "shape_adjust": ("rectangle",),
    "grid_feature_mode": ("grid",),
    "cache_dir": ("cache",),
    "data_dir": ("cache",),
}
_OUTPUTS: Final = {"product": ["grid", "pooled"], "encoder": ["pooled", "grid"]}


def card_of(name: str) -> Card:
    """Find a model's card by any of its names. Raises UnknownNameError."""
    plain = str(name).strip().lower()
    return card(_ALIASES.get(plain, plain))


def variant_of(of: Card, given: Mapping[str, Any]) -> str | None:
    """Return this package's name of the variant that rs-embed would use; None leaves it to the modality."""
    name = next((given[word] for word in _NAMES_OF_VARIANTS if given.get(word)), None)
    if name is None:
        return _DEFAULTS.get(of.id)
    plain = str(name).strip()
    if plain.lower() == _ONLY.get(of.id):
        return None
    return of.variant(_VARIANTS.get(of.id, {}).get(plain.lower(), plain)).name


def modality_of(of: Card, name: str | None) -> str | None:
    """Return this package's name of a modality: underscores and case do not count."""
    if name is None:
        return None
    plain = re.sub(r"[\s_-]", "", str(name)).lower()
    known = {re.sub(r"[\s_-]", "", one.modality).lower(): one.modality for one in of.inputs}
    return known.get(plain, str(name))


def options_of(of: Card, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the card's options; one that the card does not have is refused later, by its name."""
    declared = {option.name for option in of.options}
    skipped = {*_NAMES_OF_VARIANTS, "model_id", "pooled_source", "modality"}
    options = {}
    for name, value in given.items():
        if name in skipped or value is None:
            continue
        own = name if name in declared else next((one for one in _OPTIONS.get(name, ()) if one in declared), name)
        options[own] = value
    return options


def list_models(*, include_aliases: bool = False) -> list[str]:
    """List the models' ids, sorted; with the other names that each has too, if asked for."""
    names = {one.id for one in all_cards()}
    if include_aliases:
        names |= {alias for one in all_cards() for alias in one.aliases} | _ALIASES.keys()
    return sorted(names)


def describe_model(model: str) -> dict[str, Any]:
    """Describe a model: ``type``, ``output``, ``inputs``, ``defaults``, ``model_config``, and all facts as ``card``."""
    of = card_of(model)
    spec = ModelSpec(of.id, variant=_DEFAULTS.get(of.id))
    inputs = {
        one.modality: {"collection": next(iter(one.sensors), None), "bands": list(one.bands)} for one in of.inputs
    }
    first = of.inputs[0] if of.inputs else None
    config = {
        option.name: {"default": option.default} | ({"choices": list(option.choices)} if option.choices else {})
        for option in of.options
    }
    names = [variant.name for variant in of.variants]
    variant = {"type": "string", "default": of.variant_for(spec).name, "choices": names}
    return {
        "type": "precomputed" if of.kind == "product" else "on_the_fly",
        "backend": ["auto"] if of.kind == "product" else ["provider"],
        "output": list(_OUTPUTS[of.kind]),
        "inputs": next(iter(inputs.values()), {"spatial": "any place"}),
        "modalities": inputs,
        "temporal": {"mode": "year"} if of.years != (0, 0) else {"mode": "range"},
        "defaults": {
            "variant": of.variant_for(spec).name,
            "scale_m": first.resolution_m if first else of.product and of.product.resolution_m,
            "image_size": first.size_px if first else None,
            "cloudy_pct": first.max_cloud_pct if first else None,
            "composite": first.composite if first else None,
        },
        "model_config": {"variant": variant} | config,
        "dim": of.dim(spec, OutputSpec.pooled(of.poolings[0])),  # type: ignore[arg-type]  # a text of the card
        "notes": list(of.notes),
        "card": of.describe(),
    }
