"""Measured latencies with their conditions, and the reader that validates them (pandas)."""
