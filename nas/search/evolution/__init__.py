"""The evolutionary search over genotypes: its operators, its archive, its surrogate (no torch)."""
