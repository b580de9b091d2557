"""The clusters of the engine's tests, for maps too."""

from tests.engine.conftest import killable, nannies, no_resident_embedders, threads_client

__all__ = ["killable", "nannies", "no_resident_embedders", "threads_client"]
