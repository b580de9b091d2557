"""Fixtures of the provider tests."""

from tests.services.earth.fixtures import earth, earth_process, new_session
from tests.services.fixtures import azure, new_process, plain

__all__ = ["azure", "earth", "earth_process", "new_process", "new_session", "plain"]
