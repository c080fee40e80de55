"""Write what the project ships of the published devices: their operator costs, and a card each."""

from collections.abc import Mapping
from pathlib import Path

from experiments.published_models.devices import QUALCOMM, Condition
from experiments.published_models.judge import Published
from latency_tables.card import Card, write_card
from predictors.latency.published import published_costs
from predictors.latency.transfer import OperatorCosts

LARGEST_ERROR = 0.40
"""A device that errs more is of no use and is not shipped."""
FILE = "published_costs.json"
SOURCES = {
    QUALCOMM: (
        "published by Qualcomm AI Hub",
        "Qualcomm AI Hub Models, release 0.46.1, commit 52c080d2, https://github.com/quic/ai-hub-models "
        "(qai_hub_models/models/*/perf.yaml); repeated in release 0.47.0, commit b61a0090, "
        "https://github.com/qualcomm/ai-hub-models",
        "BSD-3-Clause",
        "2026-02-12",
    ),
    "timm": (
        "published with timm",
        "Ross Wightman, PyTorch Image Models, commit aa4b5850, https://github.com/huggingface/pytorch-image-models "
        "(results/benchmark-infer-*.csv), https://doi.org/10.5281/zenodo.4414861",
        "Apache-2.0",
        "2026-08-08",
    ),
}
"""By source: what the evidence says, citation, licence, and the date that the figures are not younger than."""


def ship(fleet: Mapping[str, Published], folder: Path) -> list[str]:
    """Write `FILE` and the cards into `folder`, without those of devices that err too much; names of those written."""
    costs = OperatorCosts()
    costs.devices_, costs.across_ = {}, LARGEST_ERROR
    for name, device in fleet.items():
        found, _ = published_costs(device.totals, device.latency_ms, device.families, device.condition.batch)
        card = folder / f"{name}.yaml"
        if found.expected_error_elsewhere > LARGEST_ERROR:
            card.unlink(missing_ok=True)
            continue
        costs.devices_[name] = found
        write_card(card, card_of(device.condition))
    costs.save(folder / FILE)
    return list(costs.devices_)


def card_of(condition: Condition) -> Card:
    """The card of a published device."""
    provenance, citation, licence, date = SOURCES[condition.source]
    if condition.source == QUALCOMM:
        said = "float" if condition.precision == "float16" else "w8a8"
        conditions = {
            "batch": 1,
            "precision": f"{said} in the source"
            + ("; that the NPU computes in float16 is presumed" if said == "float" else ""),
            "unit": "all layers on the NPU; the networks' own normalisation of pixels is inside, loading is outside",
        }
    else:
        conditions = {
            "batch": condition.batch,
            "precision": "automatic mixed precision" if condition.precision == "float16" else "float32",
            "layout": "channels last" if condition.select["layout"] == "nhwc" else "channels first",
            "mode": "torch.compile" if condition.select["mode"] == "dynamo" else "eager",
            "threads": "not published",
        }
    return Card(
        name=condition.name,
        chip=condition.chip,
        runtime=condition.runtime,
        runtime_version=condition.version,
        precision=condition.precision,
        conditions=conditions,
        date=date,
        provenance=provenance,
        citation=citation,
        licence=licence,
    )
