"""What a report says in words: the verdict, and what a reader should know before trusting it."""

from typing import Any

from nas.report.run_folder import SearchRun
from nas.search.budget import METRICS
from nas.search.latency import latencies_of

_METRIC = {metric.key: metric for metric in METRICS}


def badge(record: dict[str, Any]) -> str:
    """The verdict in three words."""
    if record["status"] == "met":
        return "measured: budget met" if record["budgets"] else "measured"
    return {"predicted": "predicted, not measured", "missed": "measured: budget missed"}[record["status"]]


def headline(record: dict[str, Any]) -> str:
    """The answer in one sentence."""
    measured, predicted, accuracy = record["measured"], record["predicted"], _accuracy(record)
    latencies = [budget for budget in record["budgets"] if budget["key"] == "latency_ms"]
    if len(latencies) > 1:
        each = [
            f"{_METRIC[b['key']].format(b['value'])} ({b['source']}{'' if b['met'] else ', too slow'}) on {b['device']}"
            for b in latencies
        ]
        verdict = "No finalist kept every limit; the closest has " if record["status"] == "missed" else ""
        return f"{verdict}{accuracy} in {' and in '.join(each)}."
    if not latencies:
        kept = " and ".join(
            f"{_METRIC[b['key']].format(b['value'])} of {_METRIC[b['key']].title}" for b in record["budgets"]
        )
        return f"{accuracy} with {kept}." if kept else f"{accuracy}, without any limit."
    allowed = _METRIC["latency_ms"].format(latencies[0]["limit"])
    if record["status"] == "met":
        return f"{accuracy} in {measured['latency_ms']:.3g} ms: measured on {record['device']}, within {allowed}."
    if record["status"] == "missed":
        return (
            f"No finalist kept {allowed} when measured on {record['device']}; the fastest took "
            f"{measured['latency_ms']:.3g} ms."
        )
    device = f" on {record['device']}" if record["device"] else ""
    return (
        f"{accuracy} within {allowed}{device}: predicted to hold with {predicted['chance']:.0%} probability, not "
        "measured."
    )


def _accuracy(record: dict[str, Any]) -> str:
    if record.get("test_accuracy") is not None:
        return f"{record['test_accuracy']:.1%} accuracy on the test images"
    if record["measured"]["accuracy"] is not None:
        return f"{record['measured']['accuracy']:.1%} accuracy"
    return f"{record['predicted']['accuracy']:.1%} accuracy (predicted)"


def subline(record: dict[str, Any]) -> str:
    """Where the answer comes from."""
    device = f" on {record['device']}" if record["device"] else ""
    return (
        f"Chosen from {int(record['space']['size']):.3g} networks of {record['space']['name']}{device}; "
        f"{record['evaluations']:,} of them were predicted."
    )


def notes(run: SearchRun) -> list[str]:
    """Sentences on how far to trust the figures."""
    record = run.record
    said = []
    if record["interrupted"]:
        said.append("The search was stopped by hand; this is the best found until then.")
    measured = [view.record["measured"]["latency_ms"] is not None for view in run.views]
    if run.has_latency and not all(measured):
        where = ", ".join(name for name, known in zip(run.devices, measured, strict=True) if not known) or "the device"
        said.append(f"Latency is predicted only: no network was measured on {where} in this search.")
    if run.has_latency and any(measured):
        said.append(
            "Measured latency is the lower quartile of interleaved rounds on a pinned core; differences of a few "
            "percent are noise, and another runtime, thread count or load gives other numbers."
        )
        said += how_it_was_proved(record.get("proof", {}))
    if not record.get("labelled", True) and record["measured"]["accuracy"] is not None:
        said.append("Accuracy was evaluated when the supernet was made; the winner was chosen by predictions.")
    elif record["measured"]["accuracy"] is None:
        said.append("Accuracy is predicted only: no network was evaluated in this search.")
    else:
        said.append(
            "Finalists were evaluated on the search-validation split with the supernet's weights, batch-norm "
            "recalibrated. The winner was chosen by that number, so it is a little optimistic."
        )
    if record.get("test_accuracy") is not None:
        said.append("The test split was used once, for the chosen network, after the search.")
    else:
        said.append("The test split was not touched.")
    said.append("MACs, parameters and bytes are computed from the layers, for one image; batch-norm counts as folded.")
    return said + [str(note) for note in record.get("notes", [])]


def how_it_was_proved(proof: dict[str, Any]) -> list[str]:
    """How often the chosen network was measured, what that says of the next time, and why the search stopped there."""
    said = []
    for latency in latencies_of(proof, "sessions_ms"):
        sessions_ms, spread = proof[latency.column("sessions_ms")], proof[latency.column("spread")]
        if spread is not None and len(sessions_ms) > 1:
            times = ", ".join(f"{ms:.4g}" for ms in sessions_ms)
            said.append(
                f"The chosen network was measured in {len(sessions_ms)} fresh processes{latency.on_device}: "
                f"{times} ms; the slowest stands in the tables. From one to the next a network differs by {spread:.1%} "
                f"(standard deviation), so the next one is expected to stay below {proof[latency.column('bound_ms')]:.4g} ms."
            )
    if "stopped" in proof:
        said.append(f"Rounds of finalists ended when: {proof['stopped']}.")
    return said
