"""Imagery from Earth Engine."""
