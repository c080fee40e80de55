"""A typed URL with a password in it reaches the job; Hydra, and what it writes and shows, gets it without."""

from collections.abc import Sequence

from nas.cli.flags import quote
from nas.cli.overrides import parse_override, text_of
from nas.pipeline.passwords import hide_passwords

KEY = "storage"


def without_passwords(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Overrides with hidden passwords, and each URL that had one by what stands in its place."""
    found: dict[str, str] = {}

    def hidden(url: str) -> str:
        found[hide_passwords(url)] = url
        return quote(hide_passwords(url))

    kept = []
    for argument in arguments:
        if argument.partition("=")[0].lstrip("+") != KEY or hide_passwords(argument) == argument:
            kept.append(argument)
            continue
        override = parse_override(argument)
        values = override.sweep_iterator() if override.is_sweep_override() else [override.value()]
        kept.append(f"{KEY}={','.join(hidden(text_of(value)) for value in values)}")
    return kept, found
