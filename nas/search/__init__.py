"""Finding the most accurate network that keeps a budget, and proving that it does (no torch)."""
