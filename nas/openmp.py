"""How the threads of OpenMP wait. Imported by whoever imports torch later, which reads it when it is first imported."""

import os


def wait_without_spinning() -> None:
    """Let threads that wait sleep soon, unless the user has said how they shall wait.

    By spinning they take the cores from others where other programs run too: a step of 2 s took 74 s
    (experiments/training_speed).
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")
