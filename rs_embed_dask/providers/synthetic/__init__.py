"""Made-up imagery with true geometry, for tests and demos."""
