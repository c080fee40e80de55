"""Showing what a search found: figures and a page that stands alone (no torch)."""
