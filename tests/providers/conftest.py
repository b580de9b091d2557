"""Fixtures of the provider tests."""

from tests.services.fixtures import azure, new_process, plain

__all__ = ["azure", "new_process", "plain"]
