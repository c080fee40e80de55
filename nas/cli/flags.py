"""Named flags on the command line, translated into Hydra overrides.

Only what is typed daily has a flag; everything else is a Hydra override on the same line.
"""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Flag:
    """A named flag.

    Attributes
    ----------
    name : without the dashes.
    key : the configuration key it sets; empty for the few that need more than that.
    value : what stands behind it in the help, empty for a switch.
    help : one line.
    text : whether the setting is text, which is never read as anything else; else a number or a switch.
    """

    name: str
    key: str
    value: str
    help: str
    text: bool = True


FLAGS = {
    flag.name: flag
    for flag in (
        Flag("device", "device", "NAME[,NAME]", "the device (`nas devices` lists them); several get a network each"),
        Flag("shared", "shared", "", "several devices get one network, which keeps every one's budget", text=False),
        Flag("latency", "budget.latency", "20ms|60%", "latency of one inference, or a share of the max net's"),
        Flag(
            "throughput",
            "budget.throughput",
            "500img/s|150%",
            "images a second at --batch, or a share of the max net's",
        ),
        Flag("batch", "batch", "N", "images an inference takes (default 1)", text=False),
        Flag(
            "device-threads",
            "device_threads",
            "N",
            "CPU threads of one inference, where its card says otherwise",
            text=False,
        ),
        Flag("memory", "budget.memory", "512KB|60%", "peak memory of the activations, of all images of --batch"),
        Flag("size", "budget.size", "2MB|60%", "bytes of the weights"),
        Flag("macs", "budget.macs", "10M|60%", "multiply-accumulates of one image"),
        Flag("params", "budget.params", "1M|60%", "number of parameters"),
        Flag(
            "confidence",
            "confidence",
            "0.95",
            "chance with which a predicted latency shall keep its budget",
            text=False,
        ),
        Flag("supernet", "supernet", "RUN", "a `nas train` run folder, or the name of a shipped supernet"),
        Flag(
            "model",
            "model",
            "NETWORK",
            "start from a network: torchvision:NAME, timm:NAME, package.module:function or net.pt2",
        ),
        Flag("weights", "weights", "FILE", "the network's weights: a state dict, .pth or .safetensors"),
        Flag(
            "init",
            "init",
            "RUN|NAME",
            "trained weights to start from: a run folder, efficientnet_lite0, cifar10, or a file",
        ),
        Flag("space", "space", "NAME", "the search space; `nas spaces` lists them"),
        Flag(
            "data",
            "",
            "NAME|FOLDER",
            "digits, a folder of images (one sub-folder a class), or cifar10 (with data.root=PATH)",
        ),
        Flag(
            "resolution",
            "data.resolution",
            "96",
            "side in pixels at which images are kept and networks read them",
            text=False,
        ),
        Flag("train-time", "train_time", "20min", "how long training may take; chooses the number of epochs"),
        Flag(
            "finetune-time",
            "finetune_time",
            "3min",
            "how long the chosen network is then trained alone; 60% is of what the training took, or none",
        ),
        Flag("format", "format", "onnx,tflite", "of the exported files"),
        Flag(
            "precision", "precision", "float32,int8", "of the exported files; auto searches in both, keeps the better"
        ),
        Flag(
            "max-accuracy-drop",
            "max_accuracy_drop",
            "POINTS",
            "what int8 may lose against float32 (default 1)",
            text=False,
        ),
        Flag("samples", "samples", "N", "architectures to measure", text=False),
        Flag("import", "source", "FILE", "take latencies from a CSV file, or from once-for-all's block tables (YAML)"),
        Flag("suggest", "suggest", "", "let the latency predictor choose which architectures to measure", text=False),
        Flag("again", "again", "", "measure the last --samples networks once more, in place of others", text=False),
        Flag(
            "evaluations",
            "evaluations",
            "N",
            "subnets to evaluate for the accuracy predictor, at most (default 80; trained weights, photographs: 24)",
            text=False,
        ),
        Flag("strategy", "strategy", "NAME", "how to search: evolution (default), gradient, nsga2 or random"),
        Flag("storage", "storage", "URL", "share evaluations with `nas worker`, e.g. sqlite:///runs/nas.db"),
        Flag("out", "", "PATH", "where the results go (default: runs/<verb>/<date>_<time>_<name>)"),
        Flag("seed", "seed", "N", "seed of everything random (default 0)", text=False),
        Flag("resume", "", "RUN", "continue a run that was stopped, in its own folder"),
        Flag("from", "former", "RUN", "answer at once from what a finished search learnt; nothing is measured"),
        Flag("json", "json", "", "print one machine-readable object on stdout", text=False),
    )
}

# Hydra's own flags, with the number of values each takes.
HYDRA_FLAGS = {
    "--multirun": 0,
    "-m": 0,
    "--cfg": 1,
    "-c": 1,
    "--resolve": 0,
    "--package": 1,
    "-p": 1,
    "--info": 1,
    "--config-dir": 1,
    "-cd": 1,
    "--config-name": 1,
    "-cn": 1,
    "--hydra-help": 0,
}

# What Hydra's grammar reads as text without quotes, unless it is one of the second.
# Hydra itself would end the program for another value.
_SHOWN = ("job", "hydra", "all")
_ASKED = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
HYDRA_CHOICES = {"--cfg": _SHOWN, "-c": _SHOWN, "--info": _ASKED}

_PLAIN_VALUE = re.compile(r"[A-Za-z0-9_./:+%-]+")
_READ_AS_ELSE = re.compile(r"[+-]?[\d_.]+(e[+-]?[\d_]*)?|[+-]?(inf|nan)|true|false|null", re.IGNORECASE)


@dataclass
class CommandLine:
    """What was typed, sorted: Hydra's flags must come first and all overrides stand together."""

    hydra: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    positional: list[str] = field(default_factory=list)
    resume: str | None = None
    out: str | None = None
    shared: bool = False
    help: bool = False

    @property
    def multirun(self) -> bool:
        """Whether Hydra sweeps."""
        return bool({"-m", "--multirun"} & set(self.hydra))

    @property
    def shows_config(self) -> bool:
        """Whether Hydra only shows something and no verb runs."""
        return bool({"--cfg", "-c", "--info", "--hydra-help"} & set(self.hydra))


def parse(argv: Sequence[str], allowed: Sequence[str]) -> CommandLine:
    """Sort the words behind the verb.

    Parameters
    ----------
    argv : the words.
    allowed : names of the flags this verb has.

    Raises
    ------
    ValueError : an unknown flag, or a flag without its value; the sentence says what to type.
    """
    line = CommandLine()
    given: list[tuple[Flag, str]] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        if word in ("--help", "-h"):
            line.help = True
        elif word in HYDRA_FLAGS:
            values = [_take(words, word) for _ in range(HYDRA_FLAGS[word])]
            if values and values[0] not in (choices := HYDRA_CHOICES.get(word, tuple(values))):
                raise ValueError(f"{word} is one of {', '.join(choices)}, got {values[0]!r}")
            line.hydra += [word, *values]
        elif word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            flag = _lookup(name, allowed)
            if flag.value and not equals:
                value = _take(words, f"--{name}")
            given.append((flag, value if flag.value else "true"))
        elif word.startswith("-") and len(word) > 1:
            raise ValueError(f"unknown flag {word}; flags are written out, like --{allowed[0] if allowed else 'help'}")
        elif "=" in word or word.startswith("+") or (word.startswith("~") and "/" not in word):
            line.overrides.append(word)
        else:
            line.positional.append(word)
    line.shared = any(flag.name == "shared" for flag, _ in given)
    for flag, value in given:
        _apply(line, flag, value)
    return line


def flag_of(key: str) -> str:
    """How a setting is typed: by its flag, or as an override."""
    if key in ("data", "data.root"):
        return "--data"
    return next((f"--{flag.name}" for flag in FLAGS.values() if flag.key == key), f"{key}=")


def _take(words: list[str], flag: str) -> str:
    if not words or words[0].startswith("--"):
        raise ValueError(f"{flag} needs a value behind it; see --help")
    return words.pop(0)


def _lookup(name: str, allowed: Sequence[str]) -> Flag:
    if name in allowed:
        return FLAGS[name]
    if name == "threads" and "device-threads" in allowed and "train-time" not in allowed:
        return FLAGS["device-threads"]  # as it was called; nothing is trained here, so it can mean nothing else
    if name == "threads":
        raise ValueError(
            "--threads may mean two things; type --device-threads N for the CPU threads of one inference, or threads=N "
            "for those of training"
        )
    close = difflib.get_close_matches(name, allowed, n=1)
    known = ", ".join(f"--{each}" for each in allowed) or "none here"
    hint = f"did you mean --{close[0]}?" if close else f"known: {known}"
    raise ValueError(f"unknown flag --{name}; {hint}")


def _apply(line: CommandLine, flag: Flag, value: str) -> None:
    if not value:
        raise ValueError(f"--{flag.name} needs a value behind it, like {flag.value}")
    if flag.name == "resume":
        line.resume = value
    elif flag.name == "out":
        line.out = value
    elif flag.name == "data":
        line.overrides += _data_overrides(value)
    elif not flag.text and re.fullmatch(r"[\w.+-]+", value.replace(",", "") if line.multirun else value):
        line.overrides.append(f"{flag.key}={value}")
    elif line.multirun and not _belongs_together(line, flag, value):
        # Commas mean a sweep here, so nothing may be quoted around them.
        line.overrides.append(f"{flag.key}={','.join(quote(part) for part in value.split(','))}")
    else:
        line.overrides.append(f"{flag.key}={quote(value)}")


def _belongs_together(line: CommandLine, flag: Flag, value: str) -> bool:
    """Devices that share a network, and budgets with a device each, are one value of a sweep, commas and all."""
    return (flag.name == "device" and line.shared) or (flag.name == "latency" and "=" in value)


def _data_overrides(value: str) -> list[str]:
    from nas.data.settings import names_folder  # `nas --help` needs to be quick

    if names_folder(value):
        return ["data=folder", f"data.root={quote(value)}"]
    return [f"data={quote(value)}"]


def quote(value: str) -> str:
    """`value` as text for Hydra: in quotes, unless its grammar reads it as this very text anyway."""
    if _PLAIN_VALUE.fullmatch(value) and not _READ_AS_ELSE.fullmatch(value):
        return value
    # OmegaConf would fill in what stands in ${...}; a backslash keeps it.
    value = re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", value)
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + (r"\'" if found[2] else ""), value)
    return f"'{escaped}'"
