"""Runs under attack: processes are killed and stopped by a seeded schedule, and the store is compared row by row."""
