"""Runs and maps as files of other formats; one module per format."""
