"""How messages name a number of things."""

import pytest

from nas.progress import counted


@pytest.mark.parametrize(
    ("n", "said"),
    [(0, "0 images"), (1, "1 image"), (1.0, "1 image"), (6.6, "6.6 images"), (1234567, "1,234,567 images")],
)
def test_one_is_no_plural(n: float, said: str) -> None:
    assert counted(n, "image") == said
