"""``python -m nas``, the same as ``nas``."""

import sys

from nas.cli.main import main

sys.exit(main())
