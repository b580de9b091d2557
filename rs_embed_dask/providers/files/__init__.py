"""Imagery from files and arrays."""
