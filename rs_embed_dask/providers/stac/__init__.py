"""Imagery from STAC APIs, Planetary Computer among them."""
