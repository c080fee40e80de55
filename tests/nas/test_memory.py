import os
import platform
from pathlib import Path

import pytest

from nas.memory import give_back

PIECE, PIECES, KEPT = 50_000, 3000, 100  # bytes: a piece that malloc takes from its heap; one in so many stays in use


def megabytes_in_use() -> float:
    """Of this process, in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to give memory back")
def test_freed_pieces_between_used_ones_go_back_to_the_system() -> None:
    pieces = [b"x" * PIECE for _ in range(PIECES)]
    used = pieces[::KEPT]
    del pieces
    before = megabytes_in_use()
    give_back()
    assert megabytes_in_use() < before - 0.7 * PIECE * PIECES / 1e6
    assert len(used) == PIECES / KEPT
