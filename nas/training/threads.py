"""CPU threads that torch computes with: their number is the whole process's, which may be a user's notebook."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def cpu_threads(threads: int | None) -> Iterator[None]:
    """Compute with so many (None: as many as before) while the context lasts, and with as many as before afterwards."""
    import torch  # takes seconds

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads or before)
        yield
    finally:
        torch.set_num_threads(before)
