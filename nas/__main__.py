"""``python -m nas``, the same as ``nas``."""

import sys
from pathlib import Path

# `-m` puts the current folder first; a file there named like a module of ours or of a library would be run.
if sys.path and Path(sys.path[0]).resolve() != Path(__file__).resolve().parents[1]:
    del sys.path[0]

from nas.cli.main import main  # noqa: E402

sys.exit(main())
