"""Synthetic imagery with true geometry, for tests and demos."""
