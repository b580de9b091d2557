"""rs-embed's calls for one place and for several, and its class that keeps a model's choices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask.compat.inspection import checked, cubes_of
from rs_embed_dask.compat.names import describe_model, list_models
from rs_embed_dask.compat.requests import Asked, How, ask, items_of, plans_of, results_of
from rs_embed_dask.compat.settings import forget
from rs_embed_dask.compat.specs import FetchSpec, InputPrepSpec, OutputSpec, SensorSpec, SpatialSpec, TemporalSpec
from rs_embed_dask.engine.local import embedding_of
from rs_embed_dask.errors import SpecError

if TYPE_CHECKING:
    from rs_embed_dask.embedding import Embedding

__all__ = ["Model", "get_embedding", "get_embeddings_batch", "reset_runtime"]

_POOLED: Final = OutputSpec.pooled()


def get_embedding(
    model: str,
    *,
    spatial: SpatialSpec,
    temporal: TemporalSpec | None = None,
    sensor: SensorSpec | None = None,
    fetch: FetchSpec | None = None,
    modality: str | None = None,
    output: OutputSpec = _POOLED,
    backend: str = "auto",
    device: str = "auto",
    input_prep: InputPrepSpec | str | None = None,
    **model_kwargs: Any,
) -> Embedding:
    """Embed one place by one model."""
    asked = ask(model, model_kwargs, sensor=sensor, fetch=fetch, modality=modality, device=device)
    return _embedded(asked, [spatial], temporal, How(output, input_prep, backend))[0]


def get_embeddings_batch(
    model: str,
    *,
    spatials: list[SpatialSpec],
    temporal: TemporalSpec | None = None,
    sensor: SensorSpec | None = None,
    fetch: FetchSpec | None = None,
    modality: str | None = None,
    output: OutputSpec = _POOLED,
    backend: str = "auto",
    device: str = "auto",
    input_prep: InputPrepSpec | str | None = None,
    **model_kwargs: Any,
) -> list[Embedding]:
    """Embed places by one model, in their order."""
    asked = ask(model, model_kwargs, sensor=sensor, fetch=fetch, modality=modality, device=device)
    return _embedded(asked, spatials, temporal, How(output, input_prep, backend))


def _embedded(asked: Asked, spatials: Any, temporal: TemporalSpec | None, how: How) -> list[Embedding]:
    if not isinstance(spatials, list | tuple) or not spatials:
        raise SpecError("spatials", value=spatials, reason="expected a list of places", fix="give at least one place")
    plans = plans_of([asked], items_of(spatials, temporal, [asked]), how)
    embeddings = []
    for _, plan, result in results_of(plans):
        more = checked(asked, cubes_of(result, plan))
        one = embedding_of(result, plan)
        one.meta.update(more, backend=plan.request.provider.name)
        embeddings.append(one)
    return embeddings


class Model:
    """A model with its choices, for several calls."""

    def __init__(
        self,
        name: str,
        *,
        backend: str = "auto",
        device: str = "auto",
        sensor: SensorSpec | None = None,
        fetch: FetchSpec | None = None,
        modality: str | None = None,
        output: OutputSpec = _POOLED,
        input_prep: InputPrepSpec | str | None = None,
        **model_kwargs: Any,
    ) -> None:
        self._asked = ask(name, model_kwargs, sensor=sensor, fetch=fetch, modality=modality, device=device)
        self._asked.card.resolved_inputs(self._asked.spec)  # refuses what the model does not have
        self._how = How(output, input_prep, backend)

    def __repr__(self) -> str:
        return f"Model({self._asked.name!r}, {self._asked.spec})"

    def get_embedding(self, spatial: SpatialSpec, *, temporal: TemporalSpec | None = None) -> Embedding:
        """Embed one place."""
        return _embedded(self._asked, [spatial], temporal, self._how)[0]

    def get_embeddings_batch(
        self, spatials: list[SpatialSpec], *, temporal: TemporalSpec | None = None
    ) -> list[Embedding]:
        """Embed places, in their order."""
        return _embedded(self._asked, spatials, temporal, self._how)

    def describe(self) -> dict[str, Any]:
        """Describe the model as `describe_model` does."""
        return describe_model(self._asked.card.id)

    @staticmethod
    def list_models(*, include_aliases: bool = False) -> list[str]:
        """List the models' ids."""
        return list_models(include_aliases=include_aliases)


def reset_runtime() -> dict[str, int]:
    """Drop the models that this process holds, and warn again of what was warned of; return how many of each."""
    from rs_embed_dask.engine.embedder import release

    return {"models": release(), "warnings": forget()}
