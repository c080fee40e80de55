"""The sections of a search's report, each made of the run's record and tables."""

from collections.abc import Callable
from math import isnan
from pathlib import Path

import pandas as pd

from latency_tables.files import shown
from nas.report.drawing import DARK, LIGHT, Figure, Theme, png
from nas.report.exported import EXPLANATION, file_head, file_rows, precision_head, precision_rows
from nas.report.figures import convergence_figure, finalists_figure, pareto_figure
from nas.report.layers import layer_table, slot_table
from nas.report.page import Block, Cell, Command, Folded, Paragraph, Picture, Section, Table
from nas.report.run_folder import SearchRun
from nas.report.words import UNKNOWN, limit_amount, milliseconds, percent
from nas.search.budget import METRIC_OF
from nas.training.duration import show_duration
from search_spaces import get_space

_MOST_CLASSES_SHOWN = 20
_LONGEST_NAME_IN_HEAD = 8


def front_section(run: SearchRun, device: str) -> Section:
    """Accuracy against cost: random networks, the front, the finalists and the choice."""
    against = "latency" if run.has_latency else "MACs"
    others = " that keep the other limits" if len(run.record["budgets"]) > (run.limit("latency_ms") is not None) else ""
    caption = (
        f"{run.accuracy_name.capitalize()} against {against}. Grey: random networks{others}; line: the best found at "
        f"each {against} (band: one standard deviation); both as predicted."
    )
    if run.has_latency and run.finalists["measured_latency_ms"].notna().any():
        caption += " A thin line leads from the prediction of a finalist to its measurement."
    title = f"{run.accuracy_name.capitalize()} and {against} of the networks"
    return Section(_on(title, device), [_picture(run, pareto_figure, caption)])


def budget_section(run: SearchRun) -> Section:
    """Each limit, what the chosen network has of it, and what the space offers."""
    offers = {(row["budget"], row["device"]): row for row in run.record["feasibility"]}
    rows: list[list[Cell | str]] = []
    for budget in run.record["budgets"]:
        metric = METRIC_OF[budget["key"]]
        met = Cell("✗ not met", "no")
        if budget["met"]:
            met = Cell("expected") if budget["source"] == "predicted" else Cell("✓ met", "yes")
        typed = limit_amount(budget)
        if "throughput" not in budget and "%" in budget["typed"]:
            typed += f" ({budget['typed']})"
        offer = offers.get((budget["flag"], budget["device"]))
        landmarks = [""] * 4
        if offer is not None:
            figures = (offer["cheapest"], offer["min_net"], offer["middle_net"], offer["max_net"])
            landmarks = [metric.format(figure) for figure in figures]
        cells = [_on(metric.title, budget["device"]), typed, metric.format(budget["value"]), budget["source"]]
        rows.append([*cells, met, *landmarks])
    if not rows:
        return Section("", [])
    head = ["", "limit", "chosen net", "source", "", "least possible", "min net", "middle net", "max net"]
    blocks: list[Block | Folded] = [Table(head, rows, numbers={1, 2, 5, 6, 7, 8})]
    if run.limit("latency_ms") is not None:
        blocks.append(
            Paragraph(
                "In the four columns on the right a latency is the upper end of its prediction "
                f"({run.record['confidence']:.0%} confidence), which is what the search compares with the limit."
            )
        )
    return Section("The budget, and the range of the search space", blocks)


def file_section(run: SearchRun) -> Section:
    """The exported files."""
    exports = run.record.get("exports")
    if not exports:
        return Section("", [])
    head = file_head(run.accuracy_name)
    table = Table(head, file_rows(exports, run.objective), numbers=set(range(1, len(head))))
    return Section("The exported files", [table, Paragraph(EXPLANATION)])


def precision_section(run: SearchRun) -> Section:
    """The best network in each precision."""
    precisions = run.record.get("precisions")
    if not precisions:
        return Section("", [])
    chosen = {number for number, found in enumerate(precisions) if found["chosen"]}
    head = precision_head(run.accuracy_name)
    table = Table(head, precision_rows(precisions, run.objective), set(range(1, len(head))), chosen)
    explanation = (
        "A search in each precision. This page shows the one whose file is the more accurate on search-validation of "
        "those that keep the budget when measured; the test split decided nothing. Each search is in the sub-folder of "
        "its precision's name."
    )
    return Section("Float32 or int8", [table, Paragraph(explanation)])


def class_section(run: SearchRun) -> Section:
    """Recall of each class on the test split, the confusion matrix, and the most frequent confusions."""
    found = next((export["test"] for export in run.record.get("exports", []) if "test" in export), None)
    if found is None:
        return Section("", [])
    names = run.record["classes"]
    blocks: list[Block | Folded] = [
        Paragraph(
            f"Of the first file, on the {found['images']:,} test images: accuracy "
            f"{percent(found['accuracy'], found['accuracy_error'])}, balanced accuracy (the mean of the classes' "
            f"recalls) {percent(found['balanced_accuracy'], found['balanced_accuracy_error'])}, each with its standard "
            "error. The recall of a class is the share of its images that are classified correctly."
        )
    ]
    by_recall = sorted(
        range(len(names)), key=lambda i: 2.0 if found["recall"][i] is None else found["recall"][i] or 0.0
    )
    rows = [
        [names[i], f"{found['images_per_class'][i]:,}", percent(found["recall"][i], found["recall_error"][i])]
        for i in by_recall
    ]
    recalls = Table(["class", "test images", "recall"], rows, numbers={1, 2})
    matrix = found.get("confusion_matrix")
    if len(names) <= _MOST_CLASSES_SHOWN and matrix is not None:
        short = max(map(len, names)) <= _LONGEST_NAME_IN_HEAD
        heads = list(names) if short else [str(number) for number in range(1, len(names) + 1)]
        labels = list(names) if short else [f"{number}: {name}" for number, name in zip(heads, names, strict=True)]
        counts = [
            [label, *(Cell(str(n), "yes" if i == j else "") if n else "" for j, n in enumerate(matrix[i]))]
            for i, label in enumerate(labels)
        ]
        explanation = "Confusion matrix: images by true class (rows) and predicted class (columns)."
        matrix_table = Table(["", *heads], counts, numbers=set(range(1, len(names) + 1)))
        blocks += [recalls, Paragraph(explanation), matrix_table]
    else:
        blocks.append(Folded(f"Recall of all {len(names)} classes, the lowest first", [recalls]))
    if found["most_confused"]:
        pairs = [[names[c["true"]], names[c["predicted"]], str(c["images"])] for c in found["most_confused"]]
        confused = Table(["true class", "predicted", "images"], pairs, numbers={2})
        blocks.append(Folded("The most frequent confusions", [confused]))
    return Section("Accuracy by class", blocks)


def finalist_section(run: SearchRun, device: str) -> Section:
    """Every finalist as predicted, and as measured where it was."""
    table = run.finalists
    measured = [column for column in ("measured_latency_ms", "measured_accuracy") if table[column].notna().any()]
    blocks: list[Block | Folded] = []
    if measured:
        caption = "On the diagonal, prediction and measurement agree. Bars: one standard deviation; p10 to p90."
        blocks.append(_picture(run, finalists_figure, caption))
    columns: dict[str, Callable[[pd.Series], Cell | str]] = {
        "round": lambda row: str(int(row["round"])),
        "network": lambda row: Cell(row["architecture"], kind="code"),
        f"{run.accuracy_name},\npredicted": lambda row: percent(
            row["predicted_accuracy"], row["predicted_accuracy_std"]
        ),
    }
    if "measured_accuracy" in measured:
        columns[f"{run.accuracy_name},\nevaluated"] = lambda row: percent(row["measured_accuracy"])
    if table["measured_loss"].notna().any():
        columns["calibrated loss"] = lambda row: (
            UNKNOWN if isnan(row["measured_loss"]) else f"{row['measured_loss']:.4f}"
        )
    if run.has_latency:
        columns["latency,\npredicted"] = lambda row: milliseconds(
            row["predicted_latency_ms"], row["predicted_latency_std_ms"]
        )
    if "measured_latency_ms" in measured:
        columns["latency,\nmeasured"] = lambda row: milliseconds(row["measured_latency_ms"])
        columns["sessions"] = lambda row: f"{row['sessions']:.0f}"
        columns["p10"] = lambda row: milliseconds(row["measured_p10_ms"])
        columns["p90"] = lambda row: milliseconds(row["measured_p90_ms"])
    rows = [[cell(row) for cell in columns.values()] for _, row in table.iterrows()]
    chosen = set((table["architecture"] == run.record["architecture"]).to_numpy().nonzero()[0].tolist())
    listing = Table(list(columns), rows, numbers=set(range(2, len(columns))), chosen=chosen)
    said: list[Block] = []
    if "calibrated loss" in columns:
        explanation = (
            "Where accuracies differ by no more than chance, the network of the lowest calibrated loss is chosen: the "
            "mean cross-entropy, with a network's outputs divided by the number at which it is least."
        )
        said = [Paragraph(explanation)]
    blocks.append(Folded(f"All {len(rows)} finalists", [*said, listing], open=not measured))
    return Section(_on("Finalists", device) + (": predicted and measured" if measured else ", as predicted"), blocks)


def latency_breakdown_section(run: SearchRun, device: str) -> Section:
    """What each part of the network adds to its predicted latency."""
    parts = [part for part in run.record["latency_breakdown"] if part["device"] == device]
    # Rounding errors of single precision are no latency.
    least = 1e-5 * max((part["max_net_ms"] for part in parts), default=0.0)
    parts = [part for part in parts if max(abs(part["chosen_ms"]), abs(part["max_net_ms"])) > least]
    if not parts:
        return Section("", [])
    widest = max(max(part["chosen_ms"], part["max_net_ms"]) for part in parts)
    rows: list[list[Cell | str]] = []
    for part in parts:
        share = part["chosen_ms"] / part["max_net_ms"] if part["max_net_ms"] > least else None
        bars = [
            Cell(milliseconds(ms), bar=5 * max(0.0, ms) / widest if widest > 0 else 0.0)
            for ms in (part["chosen_ms"], part["max_net_ms"])
        ]
        alone = share is not None and part["part"] not in ("min net", "jointly")
        rows.append([part["part"], *bars, f"{max(0.0, share or 0.0):.0%}" if alone else ""])
    totals = [sum(part["chosen_ms"] for part in parts), sum(part["max_net_ms"] for part in parts)]
    rows.append(["together", *map(milliseconds, totals), ""])
    table = Table(["part", "chosen net", "max net", "share"], rows, numbers={1, 2, 3}, chosen={len(rows) - 1})
    explanation = (
        "Milliseconds that each part adds, as predicted once all measurements were in: the difference to the same "
        "network with that part as in the min net. What parts add only together, such as a higher resolution and wider "
        'blocks, is in the row "jointly". The share is of what the part adds to the max net.'
    )
    return Section(_on("Latency by stage", device), [table, Paragraph(explanation)])


def network_section(run: SearchRun) -> Section:
    """The chosen network, slot by slot and layer by layer."""
    name, options = run.record["space"]["name"], run.record["space"]["options"]
    try:
        space = get_space(name, **options)
    except TypeError as error:
        raise ValueError(f"the record's options of space {name} cannot be: {shown(str(error), 200)}") from error
    layers = layer_table(space, run.record["architecture"])
    slots = slot_table(layers)
    most = max(int(slots["macs"].max()), 1)
    rows = [
        [
            *(slot[column] for column in ("slot", "windows", "channels", "size")),
            Cell(f"{slot['macs']:,}", bar=4 * slot["macs"] / most),
            f"{slot['params']:,}",
        ]
        for _, slot in slots.iterrows()
    ]
    every = [
        [*map(str, layer[:6]), f"{layer[6]:,}", f"{layer[7]:,}"] for layer in layers.itertuples(index=False, name=None)
    ]
    heads = ["slot", "convolutions (kernel / stride)", "channels", "size (px)", "MACs", "parameters"]
    names = ["slot", "layer", "operator", "kernel / stride", "channels", "size (px)", "MACs", "parameters"]
    folded = Folded(f"All {len(layers)} layers", [Table(names, every, numbers={4, 5, 6, 7})])
    return Section("The chosen network", [Table(heads, rows, numbers={2, 3, 4, 5}), folded])


def run_section(run: SearchRun, folder: Path) -> Section:
    """What was typed, where the run lies, and what it was made of."""
    record = run.record
    facts = [("run folder", str(folder))]
    if "seconds" in record:
        facts.append(("total time", show_duration(record["seconds"])))
    if side := record.get("resolution"):
        facts.append(("input size", f"{side} × {side} pixels"))
    if record.get("labelled", True) and "images" in record:
        facts.append(("images", ", ".join(f"{n:,} {split}" for split, n in record["images"].items())))
    facts += [
        ("seed", str(record["seed"])),
        ("space", f"{record['space']['name']}, {record['space']['size']:.3g} networks"),
        ("device", record["device"] or "none"),
        ("chosen by", run.accuracy_name),
        ("networks predicted", f"{record['candidates']:,} in {record['search_seconds']:.2f} s of search"),
        ("rounds of finalists", str(record["rounds"])),
    ]
    if record.get("data"):
        facts.append(("data", record["data"]))
    if names := record.get("classes"):
        more = f" and {len(names) - 20} more" if len(names) > 20 else ""
        facts.append(("classes", ", ".join(names[:20]) + more))
    facts += [(f"error of the {name} predictor", text) for name, text in record.get("predictors", {}).items()]
    facts.append(("versions", ", ".join(f"{name} {number}" for name, number in record["versions"].items())))
    facts += list(record.get("files", {}).items())
    blocks: list[Block | Folded] = [Command(record["command"])] if record.get("command") else []
    blocks.append(Table([], [list(fact) for fact in facts]))
    if run.convergence["predicted_accuracy"].notna().any():
        caption = "The best network after so many predictions; where the line is flat, more would not have helped."
        blocks.append(Folded("Convergence of the search", [_picture(run, convergence_figure, caption)]))
    return Section("This run, and how to repeat it", blocks)


def _on(title: str, device: str) -> str:
    return f"{title} on {device}" if device else title


def _picture(run: SearchRun, draw: Callable[[SearchRun, Theme], Figure], caption: str) -> Picture:
    return Picture(png(draw(run, LIGHT)), png(draw(run, DARK)), caption)
