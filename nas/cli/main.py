"""Entry point of the console script `nas`.

Help, listing of flags and their mistakes need no heavy import, so they answer at once.
"""

import sys
from collections.abc import Sequence

from nas import __version__
from nas.cli.flags import parse
from nas.cli.verb import VERBS, overview, usage


def main(argv: Sequence[str] | None = None) -> int:
    """Run `nas VERB ...` and return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("--help", "-h", "help"):
        print(overview(), end="")
        return 0
    if words[0] == "--version":
        print(f"nas {__version__}")
        return 0
    verb = VERBS.get(words[0])
    if verb is None:
        print(f"nas: unknown verb {words[0]!r}; known: {', '.join(VERBS)}", file=sys.stderr)
        return 2
    try:
        line = parse(words[1:], verb.flags)
    except ValueError as error:
        print(f"nas {verb.name}: {error}", file=sys.stderr)
        return 2
    if line.help:
        print(usage(verb), end="")
        return 0

    from nas.cli.app import run_verb

    return run_verb(verb, line)


if __name__ == "__main__":
    sys.exit(main())
