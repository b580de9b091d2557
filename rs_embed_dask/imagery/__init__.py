"""Pixels: grids, dates, sensors, cubes and composites."""
