"""`nas evaluate`: the right networks, each on the right split, and nothing of it where a search would look."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_run import tiny_data, tiny_recipe, tiny_run

from nas.data.settings import DataSettings
from nas.evaluation import calibration_batches, evaluate_on_test
from nas.evaluation.cache import EvaluatedSubnets
from nas.evaluation.confusion import standard_error
from nas.evaluation.test_accuracy import evaluate_run, write_evaluated
from nas.evaluation.trained import TrainedSupernet
from nas.pipeline.request import TrainRequest
from nas.pipeline.train import train_supernet
from nas.supernet import calibrate_batch_norm, load_supernet
from search_spaces.settings import SpaceSettings


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedSupernet:
    folder = tmp_path_factory.mktemp("trained")
    tiny_run(folder)
    supernet, _ = load_supernet(folder)
    return TrainedSupernet(supernet, tiny_data(), EvaluatedSubnets(supernet, tiny_data(), folder))


def test_accuracies_are_those_of_the_named_subnets_on_test(trained: TrainedSupernet) -> None:
    done: list[tuple[int, int]] = []
    subnets = evaluate_run(trained, n_random=4, seed=1, progress=lambda i, n: done.append((i, n)))
    space, data = trained.space, trained.data
    names = [subnet.architecture for subnet in subnets]
    assert len(set(names)) == len(names)
    assert names[0] == space.format(space.max)
    assert names[-1] == space.format(space.min)
    assert done[-1] == (len(subnets), len(subnets))
    costs = space.costs(np.stack([space.parse(name) for name in names]))
    for i, subnet in enumerate(subnets):
        net = trained.supernet.extract(space.parse(subnet.architecture))
        calibrate_batch_norm(net, calibration_batches(data, net.resolution))
        assert subnet.test_accuracy == evaluate_on_test(net, data)
        assert (subnet.macs, subnet.params) == (costs.macs[i], costs.params[i])
        assert subnet.test_error == pytest.approx(standard_error(subnet.test_accuracy, 40))


def test_front_is_of_validation_and_of_all_that_it_knows(trained: TrainedSupernet) -> None:
    space = trained.space
    more = space.sample(6, np.random.default_rng(3))
    trained.evaluated(more)
    subnets = evaluate_run(trained, n_random=2)
    known = trained.evaluated.known
    validation, macs = trained.evaluated(known), space.costs(known).macs
    roles = {subnet.architecture: subnet.role for subnet in subnets}
    for name, accuracy, cost in zip(space.format(known), validation, macs, strict=True):
        beaten = ((validation >= accuracy) & (macs <= cost) & ((validation > accuracy) | (macs < cost))).any()
        if roles.get(name) == "front":
            assert not beaten
        elif name not in roles:
            assert beaten or ((validation == accuracy) & (macs == cost)).sum() > 1


def test_the_table_is_kept_apart_from_what_searches_read(trained: TrainedSupernet, tmp_path: Path) -> None:
    subnets = evaluate_run(trained, n_random=1)
    written = write_evaluated(tmp_path, subnets)
    rows = list(csv.DictReader(written.open(encoding="utf-8")))
    assert [row["role"] for row in rows] == [subnet.role for subnet in subnets]
    assert float(rows[0]["test_accuracy"]) == pytest.approx(subnets[0].test_accuracy, abs=1e-6)
    sources = [p for p in (Path(__file__).parents[3] / "nas").rglob("*.py") if "test_accuracy.csv" in p.read_text()]
    assert [path.name for path in sources] == ["test_accuracy.py"]


def test_command(tmp_path: Path) -> None:
    space = SpaceSettings(depths=(1,), expansions=(2, 3), resolutions=(16,), width_mult=0.5)
    data = DataSettings(resolution=16, test_fraction=0.1)
    recipe = tiny_recipe(epochs=1, batch_size=256)
    train_supernet(TrainRequest(space=space, data=data, recipe=recipe, threads=1), tmp_path)
    nas = str(Path(sys.executable).with_name("nas"))
    command = [nas, "evaluate", str(tmp_path), "--json", "random=2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["test_images"] == 179
    assert {subnet["role"] for subnet in record["subnets"]} >= {"max", "min"}
    assert (tmp_path / "test_accuracy.csv").is_file()
