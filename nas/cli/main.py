"""Entry point of the console script `nas`.

Help, listing of flags and their mistakes need no heavy import, so they answer at once.
"""

import sys
from collections.abc import Sequence

from nas import __version__
from nas.cli.flags import parse
from nas.cli.interrupted import sentence
from nas.cli.verb import VERBS, overview, usage
from nas.signals import end_now, end_soon

EXIT_INTERRUPTED = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run `nas VERB ...` and return the exit code.

    Without `argv`, what was typed is run: the process is this program's own, and Ctrl-C ends it within two seconds.
    """
    if argv is not None:
        return _guarded(argv)
    interrupted = end_soon(EXIT_INTERRUPTED, lambda: f"nas: {sentence()}")
    code = _guarded(sys.argv[1:])
    if interrupted.is_set():
        end_now(code)
    return code


def _guarded(words: Sequence[str]) -> int:
    try:
        return _run(list(words))
    except (Exception, KeyboardInterrupt) as error:
        from nas.cli.outcome import fail, outcome

        code, sentence = outcome(error)
        return fail("", sentence, code)


def _run(words: list[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a letter that an ASCII terminal lacks must not end a run
            stream.reconfigure(errors="backslashreplace")
    if not words or words[0] in ("--help", "-h", "help"):
        print(overview(), end="")
        return 0
    if words[0] == "--version":
        print(f"nas {__version__}")
        return 0
    verb = VERBS.get(words[0])
    if verb is None:
        print(f"nas: unknown verb {words[0][:60]!r}; known: {', '.join(VERBS)}", file=sys.stderr)
        return 2
    try:
        line = parse(words[1:], verb.flags)
    except ValueError as error:
        from nas.cli.outcome import EXIT_BAD_ARGUMENT, fail

        return fail(verb.name, str(error), EXIT_BAD_ARGUMENT)
    if line.help:
        print(usage(verb), end="")
        return 0

    from nas.cli.app import run_verb

    return run_verb(verb, line)


if __name__ == "__main__":
    sys.exit(main())
