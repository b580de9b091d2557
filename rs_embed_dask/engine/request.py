"""What a user asked for, apart from the places: the same request is the same run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from rs_embed_dask.errors import PlanError
from rs_embed_dask.providers import open_provider
from rs_embed_dask.specs import FetchSpec, InputPrep, ModelSpec, OutputSpec, SensorSpec

if TYPE_CHECKING:
    from rs_embed_dask.providers import Provider

__all__ = ["Request"]


@dataclass(frozen=True)
class Request:
    """Models, shape and source of a run.

    Parameters
    ----------
    models : sequence of ModelSpec, str or dict
        At least one; no two of the same label.
    provider : Provider
        Where pixels come from.
    output : OutputSpec, optional
        Default: mean-pooled vectors.
    prep : InputPrep, optional
        Default: resize.
    fetch : FetchSpec, optional
        Default: what each card says.
    sensors : sequence of SensorSpec, optional
        Sensors and bands that go before the cards'.

    Raises
    ------
    PlanError
        Where there is no model, or where two have one label.
    """

    models: tuple[ModelSpec, ...]
    provider: Provider
    output: OutputSpec = field(default_factory=OutputSpec.pooled)
    prep: InputPrep = field(default_factory=InputPrep.resize)
    fetch: FetchSpec = field(default_factory=FetchSpec)
    sensors: tuple[SensorSpec, ...] = ()

    def __post_init__(self) -> None:
        given: Any = self.models
        listed = [given] if isinstance(given, (str, ModelSpec, Mapping)) else list(given)
        object.__setattr__(self, "models", tuple(ModelSpec.of(one) for one in listed))
        sensors: Any = self.sensors or ()
        object.__setattr__(self, "sensors", (sensors,) if isinstance(sensors, SensorSpec) else tuple(sensors))
        if not self.models:
            raise PlanError("models", value=[], reason="there is nothing to compute", fix="name at least one model")
        labels = [spec.label for spec in self.models]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            reason = "two models of the request would share one place in the store"
            raise PlanError("models", value=twice, reason=reason, fix="give one of them a name: ModelSpec(..., name=)")

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the models in the store."""
        return tuple(spec.label for spec in self.models)

    def to_dict(self) -> dict[str, Any]:
        """Write as JSON, as the store keeps it."""
        return {
            "models": [spec.to_dict() for spec in self.models],
            "output": self.output.to_dict(),
            "prep": self.prep.to_dict(),
            "fetch": self.fetch.to_dict(),
            "sensors": [sensor.to_dict() for sensor in self.sensors],
            "provider": dict(self.provider.describe()),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], provider: Provider | None = None) -> Self:
        """Read what `to_dict` wrote.

        Parameters
        ----------
        data : mapping
            The request of a store.
        provider : Provider, optional
            Instead of the one that the request describes; needed where that was made of arrays in memory.

        Returns
        -------
        Request
        """
        return cls(
            models=tuple(ModelSpec.from_dict(one) for one in data["models"]),
            provider=open_provider(data["provider"]) if provider is None else provider,
            output=OutputSpec.from_dict(data["output"]),
            prep=InputPrep.from_dict(data["prep"]),
            fetch=FetchSpec.from_dict(data["fetch"]),
            sensors=tuple(SensorSpec.from_dict(one) for one in data["sensors"]),
        )
