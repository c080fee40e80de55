"""Measuring the finalists in rounds, and proving that the budget holds (no torch)."""
