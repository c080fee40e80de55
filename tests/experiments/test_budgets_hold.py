"""The study of budgets: what it writes down of the machine."""

import json
from pathlib import Path

from experiments.budgets_hold.task import Configuration
from nas.devices.events import Machine, Start


def test_the_conditions_of_a_configuration_can_be_written_down(tmp_path: Path) -> None:
    configuration = Configuration("cpu", tmp_path, 0)
    configuration.device.probe = lambda: Start(Machine(cpu="a processor"), "1.2")  # type: ignore[method-assign]
    conditions = json.loads(json.dumps(configuration.conditions()))
    assert conditions["runtime_version"] == "1.2"
    assert conditions["machine"]["cpu"] == "a processor"
