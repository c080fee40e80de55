"""One module for each verb, with ``run(config) -> int`` (the exit code)."""
