"""The verbs: what each is for, which flags it has, and its help."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from nas.cli.flags import FLAGS


@dataclass(frozen=True)
class Verb:
    """One verb of `nas`.

    Attributes
    ----------
    name : also the name of its primary configuration in `conf/` and of its module in `nas.cli.verbs`.
    summary : one line.
    flags : names of its flags.
    examples : command lines with a remark each.
    positional : the configuration key that a bare word sets, and how the help writes it.
    tail : a last paragraph of the help.
    run_folder : whether each run has a folder of its own.
    helps : of flags that mean something else here than in `FLAGS`: what stands behind them, and the line of help.
    """

    name: str
    summary: str
    flags: tuple[str, ...]
    examples: tuple[tuple[str, str], ...]
    positional: tuple[str, str] | None = None
    tail: str = ""
    run_folder: bool = False
    helps: Mapping[str, tuple[str, str]] = field(default_factory=dict)


_EXIT_CODES = """Exit codes:
  0  done, every budget kept when measured (or the result says that it is predicted only)
  2  bad arguments    3  infeasible budget    4  budget missed when measured    1  anything else"""
_ONE_DEVICE = {"device": ("NAME", "the device (`nas devices` lists them)")}

VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            "search",
            "Find the most accurate network that keeps a budget; measure it, export it.",
            (
                "device",
                "shared",
                "latency",
                "throughput",
                "batch",
                "device-threads",
                "memory",
                "size",
                "macs",
                "params",
                "confidence",
                "supernet",
                "model",
                "weights",
                "init",
                "data",
                "resolution",
                "space",
                "train-time",
                "finetune-time",
                "format",
                "precision",
                "max-accuracy-drop",
                "evaluations",
                "strategy",
                "storage",
                "out",
                "seed",
                "from",
                "resume",
                "json",
            ),
            (
                ("nas search --data digits --latency 60%", "on the embedded digits, from nothing"),
                ("nas search --data ./photos --device cpu --latency 60%", "on your own images"),
                ("nas search --data ./photos --latency 60% --precision auto", "float32 or int8, the better file"),
                ("nas search --supernet RUN --latency 1ms,2ms,3ms -m", "three budgets, one supernet"),
                ("nas search --from RUN --latency 15ms", "another budget, in a second, by what RUN learnt"),
                ("nas search --device cpu --batch 32 --throughput 500img/s", "a budget in images a second"),
                ("nas search --device pixel,note10,cpu --latency 20ms", "a network for each of three devices"),
                ("nas search --device pixel,cpu --latency pixel=20ms,cpu=2ms", "a budget for each"),
                ("nas search --device pixel,note10 --latency 20ms --shared", "one network that both can run in time"),
            ),
            tail=_EXIT_CODES,
            run_folder=True,
        ),
        Verb(
            "train",
            "Train the supernet that searches start from.",
            ("model", "weights", "init", "data", "resolution", "space", "train-time", "out", "seed", "resume"),
            (
                ("nas train --data ./photos", "the default recipe on your own images"),
                ("nas train --data digits recipe.epochs=5", "a short one"),
                ("nas train --data ./photos --train-time 20min", "as many epochs as fit"),
                ("nas train --data ./photos --model torchvision:mobilenet_v2", "a given network made elastic"),
                ("nas train --resume RUN", "go on where it was stopped"),
            ),
            run_folder=True,
        ),
        Verb(
            "measure",
            "Measure architectures on a device (or take latencies from a file) and keep them.",
            (
                "device",
                "batch",
                "device-threads",
                "space",
                "samples",
                "suggest",
                "again",
                "import",
                "seed",
                "out",
                "json",
            ),
            (
                ("nas measure --device cpu --samples 40", "this machine, forty random architectures"),
                ("nas measure --device cpu --samples 10 --suggest", "ten that the predictor asks for"),
                ("nas measure --device cpu --samples 10 --again", "the last ten again, where the device was slow"),
                ("nas measure --device cpu --batch 32 --device-threads 2", "32 images an inference, on two threads"),
                ("nas measure --device mine --import mine.csv", "what was measured elsewhere"),
            ),
            run_folder=True,
            helps=_ONE_DEVICE,
        ),
        Verb(
            "fit",
            "Learn a device from its measurements: a latency predictor and its error.",
            ("device", "batch", "device-threads", "space", "out", "json"),
            (("nas fit --device cpu", "error report and a plot of predicted against measured"),),
            run_folder=True,
            helps=_ONE_DEVICE,
        ),
        Verb(
            "export",
            "Write the network of a finished search as ONNX or TFLite, float32 or int8, checked against PyTorch.",
            ("format", "precision", "max-accuracy-drop", "out", "json"),
            (
                ("nas export RUN --format onnx,tflite --precision float32,int8", "four files"),
                ("nas export RUN --out model.onnx batch=null", "elsewhere, dynamic batch"),
            ),
            positional=("run", "RUN"),
            helps={
                "precision": ("float32,int8", "of the files (default float32)"),
                "format": ("onnx,tflite", "of the files (default onnx)"),
                "out": ("PATH", "where the files go: a folder, or the name of the only one (default: RUN itself)"),
            },
        ),
        Verb(
            "finetune",
            "Train the network of a finished search on, export it again.",
            ("train-time", "max-accuracy-drop", "out", "seed", "resume", "json"),
            (
                ("nas finetune RUN", "ten epochs, much as its supernet was trained"),
                ("nas finetune RUN epochs=25 weight_decay=1.0e-3", "the most epochs; any field of a training"),
                ("nas finetune --resume TUNED", "go on where it was stopped"),
            ),
            run_folder=True,
            positional=("run", "RUN"),
        ),
        Verb(
            "evaluate",
            "Show the test accuracy of a trained supernet's subnets.",
            ("seed", "json"),
            (("nas evaluate RUN", "max, min, the front and eight random ones"), ("nas evaluate RUN random=50", "")),
            positional=("run", "RUN"),
        ),
        Verb(
            "worker",
            "Help a search that was given the same --storage to evaluate subnets; come and go at any time.",
            ("storage", "supernet", "data"),
            (
                ("nas worker --storage sqlite:///runs/nas.db", "on the machine of the search"),
                ("nas worker --storage postgresql://me@host/nas --supernet COPY", "on another one"),
            ),
            helps={"storage": ("URL", "the one that the search was given, e.g. sqlite:///runs/nas.db")},
        ),
        Verb(
            "report",
            "Write report.html and pareto.png of a finished search again.",
            (),
            (("nas report runs/search/2026-11-21_120000_digits", ""),),
            positional=("run", "RUN"),
        ),
        Verb("devices", "List the devices, and what is known of each.", ("json",), (("nas devices", ""),)),
        Verb("spaces", "List the search spaces.", ("json",), (("nas spaces", ""),)),
    )
}


def overview() -> str:
    """The help of `nas` itself."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb.name:<{width}}  {verb.summary}" for verb in VERBS.values())
    return f"""nas: hardware-aware neural architecture search

  nas search --device cpu --latency 2ms --data ./photos

Your own images, your own device, one command, a budget that holds when measured, a file you can deploy.

Verbs:
{verbs}

`nas VERB --help` shows a verb's flags and examples; `nas --version` the version.
"""


def usage(verb: Verb) -> str:
    """The help of one verb."""
    words = f" {verb.positional[1]}" if verb.positional else ""
    lines = {f: verb.helps.get(f, (FLAGS[f].value, FLAGS[f].help)) for f in verb.flags}
    rows = [(f"--{f} {value}".rstrip(), says) for f, (value, says) in lines.items()]
    rows.append(("-m", "sweep over comma-separated values, one run each"))
    width = max(len(left) for left, _ in rows)
    flags = "\n".join(f"  {left:<{width}}  {right}" for left, right in rows)
    width = max(len(command) for command, _ in verb.examples)
    examples = "\n".join(f"  {command:<{width}}  {remark}".rstrip() for command, remark in verb.examples)
    tail = f"\n{verb.tail}\n" if verb.tail else ""
    return f"""{verb.summary}

  nas {verb.name}{words} [flags] [key=value ...]

Flags:
{flags}

Everything else is a Hydra override on the same line (`nas {verb.name} --cfg job` prints all keys).

Examples:
{examples}
{tail}"""
