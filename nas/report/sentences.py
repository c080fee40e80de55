"""What a report says in words: the verdict, and what a reader should know before trusting it."""

from nas.report.run_folder import SearchRun
from nas.report.words import accuracy_name, accuracy_on_test, limit_amount, milliseconds, percent, probability
from nas.search.budget import METRIC_OF
from nas.search.latency import latencies_of
from nas.search.record import BudgetRecord, SearchRecord


def badge(record: SearchRecord) -> str:
    """The verdict in three words."""
    if record["status"] == "met":
        return "measured: budget met" if record["budgets"] else "measured"
    return {"predicted": "predicted, not measured", "missed": "measured: budget missed"}[record["status"]]


def headline(record: SearchRecord) -> str:
    """The answer in one sentence."""
    measured, accuracy = record["measured"], _accuracy(record)
    latencies = [budget for budget in record["budgets"] if budget["key"] == "latency_ms"]
    if len(latencies) > 1 or (latencies and latencies[0]["device"]):
        slow = {b["device"]: ", too slow" if b["value"] > b["limit"] else "" for b in latencies}
        each = [f"{_amount(b)} ({b['source']}{slow[b['device']]}) on {b['device']}" for b in latencies]
        verdict = "No finalist is sure to keep every limit; the closest has " if record["status"] == "missed" else ""
        return f"{verdict}{accuracy} in {' and in '.join(each)}."
    if not latencies:
        kept = " and ".join(f"{_amount(b)} of {METRIC_OF[b['key']].title}" for b in record["budgets"])
        return f"{accuracy} with {kept}." if kept else f"{accuracy}, without any limit."
    allowed = limit_amount(latencies[0])
    took = milliseconds(measured["latency_ms"])
    if record["status"] == "met":
        return f"{accuracy} in {took}: measured on {record['device']}, within {allowed}."
    if record["status"] == "missed":
        kept = f"kept {allowed} when measured on {record['device']}"
        if latencies[0]["value"] <= latencies[0]["limit"]:  # once; not whenever it was measured, or may be
            kept = f"is sure to keep {allowed} on {record['device']} whenever it is measured"
        return f"No finalist {kept}; the closest took {took}."
    device = f" on {record['device']}" if record["device"] else ""
    chance = record["predicted"]["chance"]
    sure = "" if chance is None else f" to hold with {probability(chance)} probability"
    return f"{accuracy} within {allowed}{device}: predicted{sure}, not measured."


def _amount(budget: BudgetRecord) -> str:
    return METRIC_OF[budget["key"]].format(budget["value"])


def _accuracy(record: SearchRecord) -> str:
    if (shown := accuracy_on_test(record, digits=1)) is not None:
        return f"{shown} accuracy on the test images"
    if (measured := record["measured"]["accuracy"]) is not None:
        return f"{percent(measured, digits=1)} {accuracy_name(record)}"
    return f"{percent(record['predicted']['accuracy'], digits=1)} {accuracy_name(record)} (predicted)"


def subline(record: SearchRecord) -> str:
    """Where the answer comes from."""
    device = f" on {record['device']}" if record["device"] else ""
    return (
        f"Chosen from {record['space']['size']:.3g} networks of {record['space']['name']}{device}; "
        f"{record['candidates']:,} of them were predicted."
    )


def notes(run: SearchRun) -> list[str]:
    """Sentences on how far to trust the figures, those about this very run first."""
    record = run.record
    said = list(record.get("notes", []))
    if record["interrupted"]:
        said.append("The search was stopped by hand; this is the best found until then.")
    if "exports" not in record:
        said.append(
            "No network was exported: the budget was missed."
            if record["status"] == "missed"
            else "No network was exported: the search was stopped before that. Repeat the command to finish it."
        )
    measured = [view.record["measured"]["latency_ms"] is not None for view in run.views if view.has_latency]
    if measured and not all(measured):
        where = ", ".join(name for name, known in zip(run.devices, measured, strict=True) if not known) or "the device"
        said.append(f"Latency is predicted only: no network was measured on {where} in this search.")
    if any(measured):
        said.append(
            "Measured latency is the lower quartile of interleaved rounds on a pinned core; differences of a few "
            "percent are noise, and another runtime, thread count or load gives other numbers."
        )
        said += how_it_was_proved(record["proof"])
    if not record.get("labelled", True) and record["measured"]["accuracy"] is not None:
        said.append("Accuracy was evaluated when the supernet was made; the winner was chosen by predictions.")
    elif record["measured"]["accuracy"] is None:
        said.append("Accuracy is predicted only: this network was not evaluated.")
    else:
        finetuning = record.get("finetuning")
        tuned = finetuning is not None and finetuning.get("kept") == "after"
        since = "and then trained alone; the accuracy shown of it is that after the training."
        said.append(
            "Finalists were evaluated on the search-validation split with the supernet's weights, batch-norm "
            f"recalibrated. The winner was chosen by that number, {since if tuned else 'so it is a little optimistic.'}"
        )
    if record.get("test_accuracy") is not None:
        said.append(
            "The test split decided nothing: the chosen network, and those that it is compared with, were judged on it "
            "after the search. After ± stands the standard error that the number of test images makes; another "
            "training gives a difference on top of it."
        )
    else:
        said.append("The test split was not used.")
    batch = record.get("batch") or 1
    several = "" if batch == 1 else f", but for the peak activation memory, which is that of {batch} images"
    said.append(
        f"MACs, parameters and bytes are computed from the layers, for one image{several}; batch-norm counts as folded."
    )
    return said


def how_it_was_proved(proof: dict[str, str | float | list[float] | None]) -> list[str]:
    """How often the chosen network was measured, what that says of the next time, and why the search stopped there."""
    said = []
    for latency in latencies_of(proof, "sessions_ms"):
        sessions_ms, spread, bound_ms = (
            proof.get(latency.column(name)) for name in ("sessions_ms", "spread", "bound_ms")
        )
        if isinstance(sessions_ms, list) and isinstance(spread, float) and isinstance(bound_ms, float):
            times = ", ".join(f"{ms:.4g}" for ms in sessions_ms)
            said.append(
                f"The chosen network was measured in {len(sessions_ms)} fresh processes{latency.on_device}: {times} "
                f"ms; the slowest stands in the tables. From one process to the next a network differs by {spread:.1%} "
                f"(standard deviation), so the next one is expected to stay below {bound_ms:.4g} ms."
            )
    if "stopped" in proof:
        said.append(f"Rounds of finalists ended when: {proof['stopped']}.")
    return said
