"""Make the fleets that are shipped: ``python -m experiments.latency_transfer.ship``.

For each space a predictor that is fitted to all *measured* devices of the public tables (simulators left out) and
adapted to none: what a new device is learnt from, ``latency_tables/fleets/<space>.json`` and ``.safetensors``.
They hold what was computed (each device as a smooth function of a network's operators), no measured latency.
"""

import sys
from pathlib import Path

import numpy as np

from experiments.latency_transfer.data import SIMULATED, load_fleet
from predictors.latency import LatencyPredictor

SPACES = ("fbnet", "nasbench201")
FOLDER = Path(__file__).parents[2] / "latency_tables" / "fleets"


def ship(name: str, folder: Path) -> Path:
    """Fit the fleet of one space and write it; returns the path of the JSON file."""
    fleet = load_fleet(name)
    rows = np.flatnonzero(fleet.usable)
    devices = [device for device in fleet.latency_ms if device not in SIMULATED]
    path = folder / f"{name}.json"
    LatencyPredictor(fleet.space).fit([fleet.measurements(device, rows) for device in devices]).save(path)
    return path


def main() -> int:
    """Write every fleet; the exit code is 2 where the data is not at hand."""
    FOLDER.mkdir(exist_ok=True)
    for name in SPACES:
        try:
            path = ship(name, FOLDER)
        except ValueError as error:
            print(error, file=sys.stderr)
            return 2
        size = sum(file.stat().st_size for file in (path, path.with_suffix(".safetensors")))
        print(f"{path.relative_to(Path.cwd())}: {size / 1024:.0f} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
