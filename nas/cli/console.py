"""Where words go: results to stdout, progress and remarks to stderr."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

# In a pipe or a file there is no terminal to be narrower than the table.
# Text from outside (paths, names) is shown as it is: nothing in it is markup or the name of a picture.
output = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 160)
remarks = Console(highlight=False, markup=False, emoji=False, stderr=True, soft_wrap=True)


def table(name: str, *numbers: str, words: tuple[str, ...] = ()) -> Table:
    """An empty table: a column of names, then columns of words, then columns of numbers."""
    made = Table(box=SIMPLE_HEAD)
    made.add_column(name, no_wrap=True)
    for heading in words:
        made.add_column(heading, overflow="fold")
    for heading in numbers:
        made.add_column(heading, justify="right", no_wrap=True)
    return made


@contextmanager
def track(title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr (nothing where that is no terminal); gives a function of things done and of all."""
    with Progress(console=remarks, transient=True, disable=not remarks.is_terminal) as bars:
        bar = bars.add_task(escape(title), total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)
