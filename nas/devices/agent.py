"""Time networks on the machine this file runs on: ``python agent.py < job.json``, one JSON line an event.

A single file that needs Python (3.9 or later) and the runtime, so that it can be copied to a board as it is.
Networks are interleaved: every round times each of them, so that a disturbance or a slow drift falls on all
alike. Times are milliseconds of one inference.

The job: ``models`` ({key: path}), ``runtime``, ``precision`` (of the arithmetic, where the file leaves it open),
``threads``, ``core`` (a number, null for the idlest of the fastest, -1 for no pinning), ``rounds``, ``runs`` (timed in
each round), ``seconds`` (to spend on a network), ``limit_s`` (for all).
Events: ``start`` (machine and versions), ``loaded``, ``timed`` (a slow network; the round goes on), ``round``
(median of each network), ``end``, ``error``.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module, metadata
from typing import Any

MIN_ROUNDS = 5
WARM_UP_RUNS, WARM_UP_SECONDS = 10, 0.3
SHORTEST_SLICE_MS = 2.0
"""Of one network in one round: below it, the clock and the caches' refill after the previous network show."""

SLOW_S = 1.0
"""After so long without a report, one says that the round goes on; more reports would disturb what is measured."""

Run = Callable[[], Any]
Say = Callable[..., None]


class Failure(Exception):
    """A reason why nothing can be measured, in one sentence for the user."""


def load_onnxruntime(
    path: str, threads: int, precision: str, providers: Sequence[str] = ("CPUExecutionProvider",)
) -> Run:
    """A function that runs the ONNX model once."""
    import numpy
    import onnxruntime

    missing = [name for name in providers if name not in onnxruntime.get_available_providers()]
    if missing:
        hint = "; type: pip install onnxruntime-gpu" if missing[0].startswith("CUDA") else ""
        raise Failure(f"this onnxruntime has no {missing[0]}{hint}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=list(providers))
    if session.get_providers()[0] != providers[0]:  # onnxruntime then takes the next one
        why = "its CUDA or cuDNN libraries are missing or of another version"
        raise Failure(f"onnxruntime cannot use {providers[0]} here: {why}")
    random = numpy.random.default_rng(0)
    feeds = {
        tensor.name: random.standard_normal([d if isinstance(d, int) else 1 for d in tensor.shape], dtype="float32")
        for tensor in session.get_inputs()
    }
    return lambda: session.run(None, feeds)


def load_onnxruntime_cuda(path: str, threads: int, precision: str) -> Run:
    """The same on an NVIDIA GPU; a run ends when its outputs are back."""
    return load_onnxruntime(path, threads, precision, ("CUDAExecutionProvider", "CPUExecutionProvider"))


def load_litert(path: str, threads: int, precision: str) -> Run:
    """A function that runs the TFLite model once, through XNNPACK."""
    import numpy

    interpreter = import_module("ai_edge_litert.interpreter").Interpreter(model_path=path, num_threads=threads)
    interpreter.allocate_tensors()
    random = numpy.random.default_rng(0)
    for tensor in interpreter.get_input_details():
        values = 40 * random.standard_normal(tensor["shape"])
        interpreter.set_tensor(tensor["index"], values.astype(tensor["dtype"]))
    invoke: Run = interpreter.invoke
    return invoke


def load_openvino(path: str, threads: int, precision: str) -> Run:
    """A function that runs the ONNX model once; not in the bfloat16 that OpenVINO would choose."""
    import numpy

    openvino = import_module("openvino")
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f16" if precision == "float16" else "f32",
        "ENABLE_CPU_PINNING": False,  # it is pinned already
    }
    core = openvino.Core()
    model = core.read_model(path)
    if model.is_dynamic():  # an open batch
        model.reshape([d.get_length() if d.is_static else 1 for d in model.input(0).partial_shape])
    compiled = core.compile_model(model, "CPU", settings)
    if precision == "float16" and "f16" not in str(compiled.get_property("INFERENCE_PRECISION_HINT")):
        raise Failure("OpenVINO does not compute in float16 on this processor")
    request = compiled.create_infer_request()
    shape = list(compiled.input(0).shape)
    request.set_input_tensor(openvino.Tensor(numpy.random.default_rng(0).standard_normal(shape).astype("float32")))
    infer: Run = request.infer
    return infer


def load_ncnn(path: str, threads: int, precision: str) -> Run:
    """A function that runs the network once: ncnn's text and, behind a zero byte, its weights.

    In float16, storage and arithmetic are what ncnn has for this processor.
    """
    import numpy

    ncnn = import_module("ncnn")
    with open(path, "rb") as file:
        head, _, weights = file.read().partition(b"\0")
    text = head.decode()
    net = ncnn.Net()
    net.opt.num_threads = threads
    for option in dir(net.opt):
        if option.startswith(("use_fp16", "use_bf16")):
            setattr(net.opt, option, precision == "float16" and option.startswith("use_fp16"))
    if net.load_param_mem(text) != 0:
        raise Failure(f"ncnn cannot read {path}")
    net.load_model_mem(weights)
    width, height, channels = (int(field.split("=")[1]) for field in text.split("\n")[2].split()[5:])
    image = ncnn.Mat(numpy.random.default_rng(0).standard_normal((channels, height, width)).astype("float32")).clone()

    def run() -> Any:
        extractor = net.create_extractor()
        extractor.input("images", image)
        return extractor.extract("logits"), weights  # the weights are used where they lie: keep them

    return run


def load_pytorch(path: str, threads: int, precision: str, compiled: bool = False, device: str = "cpu") -> Run:
    """A function that runs the network once in PyTorch; needs this project, which knows how to build it."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise Failure("this PyTorch sees no NVIDIA GPU")

    from nas.supernet.subnet import Subnet
    from search_spaces import get_space

    with open(path, encoding="utf-8") as file:
        card = json.load(file)
    torch.set_num_threads(threads)
    space = get_space(card["space"], **card["options"])
    net = Subnet(space, space.parse(card["architecture"])).eval().fused().to(device)
    images = torch.randn(card["batch"], 3, net.resolution, net.resolution, device=device)
    if precision == "float16":
        net, images = net.half(), images.half()
    forward = torch.compile(net) if compiled else net

    @torch.inference_mode()
    def run() -> Any:
        logits = forward(images)
        if device == "cuda":
            torch.cuda.synchronize()
        return logits

    return run


def load_pytorch_compiled(path: str, threads: int, precision: str) -> Run:
    """The same through torch.compile: half a minute for each network before it runs."""
    return load_pytorch(path, threads, precision, compiled=True)


def load_pytorch_cuda(path: str, threads: int, precision: str) -> Run:
    """The same on an NVIDIA GPU; a run ends when the GPU is done."""
    return load_pytorch(path, threads, precision, device="cuda")


# Runtime -> module whose version is reported, loader(path, threads, precision).
RUNTIMES: dict[str, tuple[str, Callable[[str, int, str], Run]]] = {
    "onnxruntime": ("onnxruntime", load_onnxruntime),
    "onnxruntime-cuda": ("onnxruntime", load_onnxruntime_cuda),
    "litert": ("ai_edge_litert", load_litert),
    "openvino": ("openvino", load_openvino),
    "ncnn": ("ncnn", load_ncnn),
    "pytorch": ("torch", load_pytorch),
    "pytorch-compiled": ("torch", load_pytorch_compiled),
    "pytorch-cuda": ("torch", load_pytorch_cuda),
}


def version_of(module: str) -> str:
    """Version of an installed module; a Failure where it is absent."""
    try:
        loaded = import_module(module)
    except ImportError as error:
        raise Failure(f"{module} is not installed for {sys.executable} ({error})") from error
    try:
        return metadata.version(module.split(".")[0].replace("_", "-"))
    except metadata.PackageNotFoundError:
        return str(getattr(loaded, "__version__", "unknown"))


def read_text(path: str) -> str:
    """A file's text, empty where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def machine() -> dict[str, Any]:
    """What is known of this machine that may change a latency."""
    lines = [line.split(":", 1) for line in read_text("/proc/cpuinfo").splitlines() if ":" in line]
    cpu = {name.strip(): value.strip() for name, value in lines}
    model = read_text("/proc/device-tree/model").strip("\0")
    return {
        "cpu": cpu.get("model name") or cpu.get("Hardware") or model or platform.processor() or platform.machine(),
        "board": model,
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "governor": read_text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_average": load_average(),
    }


def gpu() -> str:
    """Name of the first NVIDIA GPU, empty where there is none."""
    try:
        asked = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip().split("\n")[0] if done.returncode == 0 else ""


def load_average() -> float | None:
    """Of the last minute, None where the system does not say."""
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):
        return None


def busy_ticks() -> dict[int, int]:
    """Ticks each core has worked, by core number."""
    ticks: dict[int, int] = {}
    for line in read_text("/proc/stat").splitlines():
        name, *numbers = line.split()
        if name.startswith("cpu") and name != "cpu":
            user, nice, system, _idle, _iowait, *rest = map(int, numbers)
            ticks[int(name[3:])] = user + nice + system + sum(rest[:3])
    return ticks


def speed_ranks(cores: Sequence[int], n: int) -> dict[int, int]:
    """Of each core: 0 if it is clearly faster than the n-th fastest, 1 if about as fast, 2 if slower."""
    speeds = {core: speed(core) for core in cores}
    nth = sorted(speeds.values(), reverse=True)[min(n, len(cores)) - 1]
    return {core: (0.9 * each <= nth) + (each < 0.9 * nth) for core, each in speeds.items()}


def speed(core: int) -> float:
    """What a core reaches, comparable within a machine; 0 where the system does not say."""
    folder = f"/sys/devices/system/cpu/cpu{core}"
    said = read_text(f"{folder}/cpu_capacity") or read_text(f"{folder}/cpufreq/cpuinfo_max_freq")
    return float(said) if said.isdigit() else 0.0


def pin(core: int | None, threads: int) -> list[int] | None:
    """Keep this process on `threads` cores (the idlest of the fastest ones, or from `core` on); the cores, or None."""
    if core == -1 or not hasattr(os, "sched_setaffinity"):
        return None
    allowed = sorted(os.sched_getaffinity(0))
    if core is None:
        ranks = speed_ranks(allowed, threads)  # else one process would measure a slow core, the next one a fast one
        before = busy_ticks()
        time.sleep(0.1)
        after = busy_ticks()
        # Among equally idle cores the last: the first ones serve interrupts.
        chosen = sorted(allowed, key=lambda c: (ranks[c], after.get(c, 0) - before.get(c, 0), -c))[:threads]
    else:
        chosen = [c for c in allowed if c >= core][:threads]
    if len(chosen) < threads:
        raise Failure(f"{threads} threads need {threads} cores from {core or 0} on, this process may use {allowed}")
    os.sched_setaffinity(0, chosen)
    return sorted(chosen)


def warm_up(run: Run) -> float:
    """Run until caches and allocators have settled; median milliseconds."""
    times: list[float] = []
    end = time.perf_counter() + WARM_UP_SECONDS
    while len(times) < 2 or (len(times) < WARM_UP_RUNS and time.perf_counter() < end):
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[len(times) // 2 :])


def time_runs(run: Run, runs: int) -> float:
    """Median milliseconds of `runs` runs, after one untimed run that refills the caches."""
    run()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def measure(job: dict[str, Any], say: Say) -> None:
    """Carry out a job; `say(event, **fields)` reports."""
    module, load = RUNTIMES[job["runtime"]]
    threads, end = job["threads"], time.monotonic() + job["limit_s"]
    about = machine()
    if job["runtime"].endswith("cuda"):
        about["gpu"] = gpu()
    cores = pin(job.get("core"), threads)
    say("start", machine=about, runtime_version=version_of(module), cores=cores)
    nets: dict[str, Run] = {}
    typical: dict[str, float] = {}
    for key, path in job["models"].items():
        try:
            nets[key] = load(path, threads, job.get("precision", "float32"))
            typical[key] = warm_up(nets[key])
        except Failure:
            raise
        except Exception as error:  # a runtime may raise anything; the message must name the model
            reason = " ".join(str(error).split())
            raise Failure(f"{job['runtime']} cannot run {key}: {reason}") from error
        say("loaded", model=key, ms=typical[key])
    if not nets:  # a probe: is everything there?
        return
    budget_ms = 1e3 * job["seconds"]
    runs = {
        key: max(1, min(job["runs"], int(budget_ms / job["rounds"] / ms)), int(SHORTEST_SLICE_MS / ms))
        for key, ms in typical.items()
    }
    rounds = min(job["rounds"], max(MIN_ROUNDS, int(budget_ms / max(typical.values()))))
    gc.disable()
    for number in range(rounds):
        if time.monotonic() > end and number >= MIN_ROUNDS:
            break
        wall, cpu = time.perf_counter(), time.process_time()
        times, said = {}, wall
        for key, run in nets.items():
            times[key] = time_runs(run, runs[key])
            if time.perf_counter() - said > SLOW_S:
                say("timed", model=key)
                said = time.perf_counter()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        gc.collect()
        say("round", ms=times, runs=runs, waited=max(0.0, 1 - cpu / wall))
    say("end", load_average=load_average())


def main() -> int:
    """Read a job from stdin, report on stdout."""
    # Runtimes print to stdout too: it is sent to stderr, so that stdout carries events alone.
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(event: str, **fields: Any) -> None:
        events.write(json.dumps({"event": event, **fields}) + "\n")
        events.flush()

    try:
        measure(json.load(sys.stdin), say)
    except Failure as failure:
        say("error", message=str(failure))
        return 1
    return 0


if __name__ == "__main__":
    # Not sys.exit: some runtimes crash while the interpreter ends, after all has been reported.
    code = main()
    sys.stderr.flush()
    os._exit(code)
