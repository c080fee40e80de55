"""What pyproject.toml cannot say: `conf/`, at the top of the repository, is installed as `nas/conf/`.

So no package called `conf` comes into the user's environment. `nas.shipped.conf` finds the folder in both places.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConf(build_py):
    """Copies `conf/` below the package when a wheel is built; an editable install uses the repository's."""

    def run(self) -> None:
        """Build, then copy."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "nas" / "conf"
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree("conf", target, ignore=shutil.ignore_patterns("__pycache__"))


setup(cmdclass={"build_py": BuildWithConf})
