"""Every command line of the READMEs can be typed: its verb, flags and overrides exist."""

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from nas.cli.app import register_settings
from nas.cli.config import SETTINGS
from nas.cli.flags import parse
from nas.cli.verb import VERBS
from nas.pipeline.settings import from_plain
from nas.shipped.conf import CONF

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *ROOT.glob("nas/*/README.md"), *ROOT.glob("search_spaces/README.md")]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
COMMANDS = sorted(set(re.findall(r"^    (?:torchrun .*)?(nas .+?)(?:\s+#.*)?$", TEXT, flags=re.MULTILINE)))
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_can_be_typed(command):
    _, name, *words = shlex.split(command)
    verb = VERBS[name]
    line = parse(words, verb.flags)
    assert len(line.positional) <= (verb.positional is not None)
    register_settings()
    # A sweep composes once for each value; the first stands for all.
    if verb.positional:
        line.overrides.append("run=x")
    overrides = [re.sub(r"(=[^,'\"]+),.*", r"\1", text) if line.multirun else text for text in line.overrides]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(name, overrides)
    from_plain(SETTINGS[name], OmegaConf.to_container(config, resolve=True))


def test_there_are_commands():
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize("code", PYTHON)
def test_every_import_of_the_examples_works(code):
    imports = [line for line in code.splitlines() if line.startswith(("from ", "import "))]
    assert imports
    exec("\n".join(imports), {})
    compile(code, "README.md", "exec")
