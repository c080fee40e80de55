import numpy as np

from nas.search.evolution.archive import Archive, Scores


def test_archive_lets_every_row_through_once() -> None:
    archive = Archive()
    rows = np.array([[1, 2], [3, 4], [1, 2]], dtype=np.int16)
    new = archive.unseen(rows)
    np.testing.assert_array_equal(new, rows[:2])
    archive.add(new, Scores(np.zeros((2, 1)), np.zeros((2, 0))))
    np.testing.assert_array_equal(archive.unseen(np.array([[3, 4], [2, 1]], dtype=np.int16)), [[2, 1]])
