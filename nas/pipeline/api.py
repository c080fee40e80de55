"""`nas.search` and `nas.train`: what the command line does, from Python, with the same defaults."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from nas.data.settings import NAMES, DataSettings, names_folder
from nas.errors import BudgetMissed
from nas.openmp import wait_without_spinning
from nas.pipeline.arguments import as_called, checked
from nas.pipeline.at_hand import AUTO
from nas.pipeline.check import check_request
from nas.pipeline.completed import completed
from nas.pipeline.precisions import search_precisions
from nas.pipeline.request import Limits, SearchRequest, TrainRequest
from nas.pipeline.run_folder import held_run_folder, say_folder
from nas.pipeline.search import search as search_request
from nas.pipeline.settings import RunSettings
from nas.progress import PRINTING, Listener
from nas.search.result import SearchResult
from nas.shipped import usual_supernet
from nas.shipped.conf import read_choice
from nas.training import Recipe, load_recipe
from nas.training.threads import cpu_threads
from search_spaces.settings import SpaceSettings

Images = str | os.PathLike[str] | DataSettings

wait_without_spinning()


@checked
def search(
    *,
    data: Images | None = None,
    device: str = SearchRequest.device,
    latency: str | Mapping[str, str] | None = None,
    memory: str | None = None,
    size: str | None = None,
    macs: str | None = None,
    params: str | None = None,
    throughput: str | None = None,
    device_threads: int | None = SearchRequest.device_threads,
    supernet: str | os.PathLike[str] | None = None,
    model: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    init: str | os.PathLike[str] | None = None,
    space: str | SpaceSettings | None = None,
    recipe: str | Recipe | None = None,
    resolution: int | None = None,
    train_time: str | None = None,
    shared: bool = SearchRequest.shared,
    objective: str = SearchRequest.objective,
    confidence: float = SearchRequest.confidence,
    samples: int | None = SearchRequest.samples,
    evaluations: int | None = None,
    candidates: int | None = None,
    finalists: int | None = None,
    rounds: int | None = None,
    strategy: str = SearchRequest.strategy,
    format: str | None = SearchRequest.format,
    precision: str | None = SearchRequest.precision,
    max_accuracy_drop: float = SearchRequest.max_accuracy_drop,
    batch: int | None = SearchRequest.batch,
    storage: str | None = SearchRequest.storage,
    baselines: str = SearchRequest.baselines,
    finetune_time: str | None = SearchRequest.finetune_time,
    seed: int = SearchRequest.seed,
    threads: int | None = SearchRequest.threads,
    accelerator: str = SearchRequest.accelerator,
    runs: str | os.PathLike[str] = SearchRequest.runs,
    out: str | os.PathLike[str] | None = None,
    listener: Listener = PRINTING,
) -> SearchResult:
    """Find the most accurate network that keeps a budget, measure it, and export it into a run folder.

    Parameters
    ----------
    data : a folder of images with one sub-folder a class, ``digits`` (where no folder has this name), or
        `nas.data.DataSettings`. Without it, and without `supernet`, `model`, `init`, `space`, `recipe`, `resolution`
        and `train_time`, the search starts from the shipped supernet.
    device : whose latency it is; a name, or several with commas between and `shared`.
    latency : of one image, like ``20ms`` or ``60%`` of the max net's; with several devices also a mapping by name.
    memory, size, macs, params, throughput : other limits, like ``512KB``, ``2MB``, ``10M``, ``60%``, ``500img/s``.
    supernet : a training run's folder or the name of a shipped supernet; one is trained (or found) if not given.
    model, weights : a network to start from, like ``torchvision:mobilenet_v2``, and the file of its weights.
    init : trained weights to start from: a run's folder, ``efficientnet_lite0``, or a file of once-for-all's.
    space, recipe : by name, or made by hand. Without these, `init` and `supernet`, photographs start from
        EfficientNet-Lite0 (`nas.pipeline.photographs`).
    resolution : side in pixels at which networks read images.
    train_time : how long the training may take, like ``20min``.
    threads, device_threads : CPU threads of training, and of one inference where it is not what the device's card says.
    evaluations : subnets evaluated at most to fit the accuracy predictor; by default 80, of photographs 24.
    candidates : networks that a search may evaluate by prediction; by default 20,000.
    finalists, rounds : networks measured in a round, and rounds at most; by default 8 and 4, of photographs 5 and 3.
    shared, objective, confidence, samples, strategy, format, precision, max_accuracy_drop, batch, \
storage, baselines, finetune_time, seed, accelerator, runs : see `nas.pipeline.request.SearchRequest`.
    out : the run folder; one below `runs` if not given. A killed search called again goes on there.
    listener : receives messages and progress. By default, sentences are printed to stderr; ``nas.SILENT`` prints
        nothing.

    Returns
    -------
    The result; ``result.about["folder"]`` is its run folder, and ``result.about["notes"]`` says what should be known of
    it. An int8 file that lost more than `max_accuracy_drop` is no error: its ``accepted`` in
    ``result.about["exports"]`` is false, and a note says so.

    Raises
    ------
    ValueError : something asked for cannot work; nothing is measured or trained then.
    InfeasibleBudget : no network of the space can keep the budget.
    BudgetMissed : no finalist kept it when measured; its `folder` is the run folder, with what was measured.
    """
    command = as_called(search, locals())
    said: dict[str, object] = {"supernet": supernet, "model": model, "init": init, "data": data}
    said |= {"data.resolution": resolution, "space": space, "recipe": recipe, "train_time": train_time}
    supernet = supernet or usual_supernet(name for name, value in said.items() if value is not None)
    if isinstance(latency, Mapping):
        latency = ",".join(f"{name}={limit}" for name, limit in latency.items())
    counts = {"evaluations": evaluations, "candidates": candidates, "finalists": finalists, "rounds": rounds}
    asked: dict[str, Any] = {name: count for name, count in counts.items() if count is not None}
    request = SearchRequest(
        **_training(data, space, recipe, resolution),
        **asked,
        budget=Limits(latency=latency, memory=memory, size=size, macs=macs, params=params, throughput=throughput),
        device=device,
        supernet=None if supernet is None else os.fspath(supernet),
        train_time=train_time,
        model=None if model is None else os.fspath(model),
        weights=None if weights is None else os.fspath(weights),
        init=None if init is None else os.fspath(init),
        device_threads=device_threads,
        shared=shared,
        objective=objective,
        confidence=confidence,
        samples=samples,
        strategy=strategy,
        format=format,
        precision=precision,
        max_accuracy_drop=max_accuracy_drop,
        batch=batch,
        storage=storage,
        baselines=baselines,
        finetune_time=finetune_time,
        seed=seed,
        threads=threads,
        accelerator=accelerator,
        runs=os.fspath(runs),
    )
    of_data = request.data.as_dict()
    known = of_data.keys() if isinstance(data, DataSettings) else {"name", "root"} if data is not None else set()
    known = known | ({"resolution"} if resolution is not None else set())
    given = _given(**said | counts | {"supernet": supernet, "storage": storage})
    request = completed(request, given, {name: of_data[name] for name in known}, {}, listener)
    if "," in device and not shared:
        raise ValueError(
            f"{device} are several devices; give shared=True for one network, or call search once for each of them"
        )
    find = search_precisions if precision == AUTO else search_request
    with _run_folder("search", request, out, command) as folder:
        result = find(request, folder, listener, command)
    result.about["folder"] = str(folder)
    return result


@checked
def train(
    *,
    data: Images | None = None,
    model: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    init: str | os.PathLike[str] | None = None,
    space: str | SpaceSettings | None = None,
    recipe: str | Recipe | None = None,
    resolution: int | None = None,
    train_time: str | None = None,
    seed: int = TrainRequest.seed,
    threads: int | None = TrainRequest.threads,
    accelerator: str = TrainRequest.accelerator,
    runs: str | os.PathLike[str] = TrainRequest.runs,
    out: str | os.PathLike[str] | None = None,
    listener: Listener = PRINTING,
) -> Path:
    """Train a supernet that searches start from; parameters as of `search`.

    Returns
    -------
    The run folder, which is what `search` takes as `supernet`.

    Raises
    ------
    ValueError : something asked for cannot work; nothing is trained then.
    """
    command = as_called(train, locals())
    request = TrainRequest(
        **_training(data, space, recipe, resolution),
        train_time=train_time,
        model=None if model is None else os.fspath(model),
        weights=None if weights is None else os.fspath(weights),
        init=None if init is None else os.fspath(init),
        seed=seed,
        threads=threads,
        accelerator=accelerator,
        runs=os.fspath(runs),
    )
    given = _given(space=space, recipe=recipe, init=init, model=model)
    request = completed(request, given, {}, {}, listener)
    from nas.pipeline.train import train_supernet  # torch

    with _run_folder("train", request, out, command) as folder:
        say_folder(folder, listener)
        return train_supernet(request, folder, listener)


def _training(
    data: Images | None, space: str | SpaceSettings | None, recipe: str | Recipe | None, resolution: int | None
) -> dict[str, Any]:
    """The fields of a `TrainRequest` that may be given by name."""
    if not isinstance(data, DataSettings):
        word = None if data is None else os.fspath(data)
        named = word is None or (word in NAMES and word != "folder" and not names_folder(word))
        data = DataSettings.from_dict(
            read_choice("data", word or "digits") if named else {"name": "folder", "root": word}
        )
    if resolution is not None:
        data = replace(data, resolution=resolution)
    made: dict[str, Any] = {"data": data}
    if isinstance(space, str):
        made["space"] = SpaceSettings.from_dict(read_choice("space", space))
    elif space is not None:
        made["space"] = space
    if recipe is not None:
        made["recipe"] = load_recipe(recipe) if isinstance(recipe, str) else recipe
    return made


def _given(**arguments: object) -> dict[str, str]:
    """The arguments that were given, each typed as its name."""
    return {name: name for name, value in arguments.items() if value is not None}


@contextmanager
def _run_folder(verb: str, request: TrainRequest, out: str | os.PathLike[str] | None, command: str) -> Iterator[Path]:
    """The run folder of a request that has been judged, held while the context lasts.

    BLAS has one thread meanwhile, and torch has as many afterwards as before.
    """
    check_request(request)
    # The command line sets this before NumPy is imported; here it may be long since.
    with (
        threadpool_limits(1, user_api="blas"),
        nullcontext() if request.threads is None else cpu_threads(request.threads),
        held_run_folder(RunSettings(verb, request, command), None if out is None else Path(out)) as folder,
    ):
        try:
            yield folder
        except BudgetMissed as error:
            error.folder = folder
            raise
