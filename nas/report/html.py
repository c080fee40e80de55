"""``report.html``: what was found, how sure that is, and how to get it again, on one page that stands alone.

No script, no font, no image from elsewhere; readable in light and dark. Every string that came from outside
(class names, paths, commands) is escaped. Accuracies are shown in percent, latencies in milliseconds.
"""

from base64 import b64encode
from collections.abc import Callable
from html import escape
from math import sqrt
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from latency_tables.files import atomic_path, write_text
from nas.report.exported import EXPLANATION, HEAD, PRECISIONS_HEAD, file_rows, precision_rows
from nas.report.figures import DARK, LIGHT, Theme, convergence_figure, finalists_figure, pareto_figure, png
from nas.report.latency_breakdown import latency_breakdown_section
from nas.report.layers import layer_table, slot_table
from nas.report.page import fill_page, html_section, html_table
from nas.report.run_folder import SearchRun
from nas.report.sentences import badge, headline, notes, subline
from nas.search.budget import METRICS
from search_spaces import get_space

_METRIC = {metric.key: metric for metric in METRICS}


def write_report(folder: Path) -> Path:
    """Write ``pareto.png`` and ``report.html`` into the run folder of a search.

    Returns
    -------
    The page's path.

    Raises
    ------
    ValueError : `folder` is not that of a finished search.
    """
    run = SearchRun.read(folder)
    for device in run.devices:
        with atomic_path(folder / (f"pareto_{device}.png" if device else "pareto.png")) as temporary:
            temporary.write_bytes(png(pareto_figure(run.on(device))))
    page = folder / "report.html"
    write_text(page, render(run))
    return page


def render(run: SearchRun) -> str:
    """The page as a string."""
    record = run.record
    fronts = [_front(run.on(device), device) for device in run.devices]
    finalists = [_finalists(run.on(device), device) for device in run.devices]
    sections = [
        *fronts,
        _precisions(run),
        _budgets(run),
        _files(run),
        *finalists,
        *(latency_breakdown_section(run, device) for device in run.devices),
        _network(run),
        _reproduce(run),
        _honesty(run),
    ]
    return fill_page(
        title=f"nas search: {record['architecture']}",
        status=record["status"],
        badge=badge(record),
        headline=headline(record),
        subline=f"<code>{escape(record['architecture'])}</code><br>{escape(subline(record))}",
        tiles=_tiles(run),
        sections=sections,
    )


def _tiles(run: SearchRun) -> list[str]:
    record = run.record
    predicted, measured, costs = record["predicted"], record["measured"], record["costs"]
    expected = f"predicted {_percent(predicted['accuracy'], predicted['accuracy_std'])}"
    tiles = []
    if (share := record.get("test_accuracy")) is not None:
        on_validation = "" if measured["accuracy"] is None else f"search-validation {_percent(measured['accuracy'])}; "
        images = record.get("test_images")
        shown = _percent(share, sqrt(share * (1 - share) / images) if images else None)
        tiles.append(_tile("Accuracy on the test split", shown, f"{on_validation}{expected}"))
    elif measured["accuracy"] is not None:
        tiles.append(_tile("Accuracy on search-validation", _percent(measured["accuracy"]), expected))
    else:
        shown = _percent(predicted["accuracy"], predicted["accuracy_std"])
        tiles.append(_tile("Accuracy, predicted", shown, "not evaluated"))
    tiles += [_latency_tile(view.record) for view in run.views if view.has_latency]
    for key in ("macs", "params", "weight_bytes", "peak_activation_bytes"):
        metric = _METRIC[key]
        title = metric.title if metric.title.startswith("MAC") else metric.title.capitalize()
        tiles.append(_tile(title, metric.format(costs[key]), "on paper, for one image"))
    return tiles


def _latency_tile(record: dict[str, Any]) -> str:
    predicted, measured = record["predicted"], record["measured"]
    expected = f"{predicted['latency_ms']:.3g} ± {predicted['latency_std_ms']:.2g} ms"
    if measured["latency_ms"] is None:
        where = f" on {record['device']}" if record["device"] else ""
        return _tile(f"Latency{where}, predicted", expected, "not measured")
    detail = f"p10 {measured['p10_ms']:.3g}, p90 {measured['p90_ms']:.3g} ms; predicted {expected}"
    return _tile(f"Latency on {record['device']}", f"{measured['latency_ms']:.3g} ms", detail)


def _tile(name: str, figure: str, detail: str) -> str:
    return (
        f'<div class="tile"><div class="name">{escape(name)}</div><div class="figure">{escape(figure)}</div>'
        f'<div class="detail">{escape(detail)}</div></div>'
    )


def _front(run: SearchRun, device: str) -> str:
    against = "latency" if run.has_latency else "MACs"
    others = " that keep the other limits" if len(run.record["budgets"]) > (run.limit("latency_ms") is not None) else ""
    caption = (
        f"Accuracy against {against}. Grey: random networks{others}; line: the best found at each {against} (band: "
        "one standard deviation); both as predicted."
    )
    if run.has_latency and run.finalists["measured_latency_ms"].notna().any():
        caption += " A thin line leads from what was predicted of a finalist to what was measured."
    return html_section(_on("Where it stands", device), _image(run, pareto_figure, caption))


def _on(title: str, device: str) -> str:
    return f"{title} on {device}" if device else title


def _budgets(run: SearchRun) -> str:
    offers = {(row["budget"], row["device"]): row for row in run.record["feasibility"]}
    rows = []
    for budget in run.record["budgets"]:
        metric, offer = _METRIC[budget["key"]], offers[budget["flag"], budget["device"]]
        met = '<span class="no">✗ not met</span>'
        if budget["met"]:
            met = "expected" if budget["source"] == "predicted" else '<span class="yes">✓ met</span>'
        typed = metric.format(budget["limit"]) + (f" ({budget['typed']})" if "%" in budget["typed"] else "")
        title = _on(metric.title, budget["device"])
        cells = [escape(title), escape(typed), escape(metric.format(budget["value"])), escape(budget["source"])]
        landmarks = [escape(metric.format(offer[key])) for key in ("cheapest", "min_net", "middle_net", "max_net")]
        rows.append([*cells, met, *landmarks])
    if not rows:
        return ""
    head = ["", "at most", "chosen net", "known by", "", "cheapest", "min net", "middle net", "max net"]
    quantile = ""
    if run.limit("latency_ms") is not None:
        quantile = (
            '<p class="soft">In the four columns on the right a latency is the upper end of its prediction '
            f"({run.record['confidence']:.0%} confidence), as the search judges it.</p>"
        )
    return html_section(
        "The budget, and what the space offers", html_table(head, rows, numbers={1, 2, 5, 6, 7, 8}) + quantile
    )


def _files(run: SearchRun) -> str:
    exports = run.record.get("exports")
    if not exports:
        return ""
    rows = [[escape(cell).replace("\n", "<br>") for cell in row] for row in file_rows(exports)]
    explanation = f'<p class="soft">{escape(EXPLANATION)}</p>'
    return html_section("The exported files", html_table(HEAD, rows, numbers=set(range(1, len(HEAD)))) + explanation)


def _precisions(run: SearchRun) -> str:
    precisions = run.record.get("precisions")
    if not precisions:
        return ""
    rows = [[escape(cell).replace("\n", "<br>") for cell in row] for row in precision_rows(precisions)]
    chosen = {number for number, found in enumerate(precisions) if found["chosen"]}
    explanation = (
        '<p class="soft">A search in each precision. This page shows the one whose file is the more accurate on '
        "search-validation of those that keep the budget when measured; the test split decided nothing. Each search is "
        "in the sub-folder of its precision's name.</p>"
    )
    table = html_table(PRECISIONS_HEAD, rows, numbers=set(range(1, len(PRECISIONS_HEAD))), chosen=chosen)
    return html_section("Float32 or int8", table + explanation)


def _finalists(run: SearchRun, device: str) -> str:
    table = run.finalists
    measured = [column for column in ("measured_latency_ms", "measured_accuracy") if table[column].notna().any()]
    image = ""
    if measured:
        caption = "On the diagonal, prediction and measurement agree. Bars: one standard deviation; p10 to p90."
        image = _image(run, finalists_figure, caption)
    columns: dict[str, Callable[[pd.Series], str]] = {
        "round": lambda row: str(int(row["round"])),
        "network": lambda row: f"<code>{escape(row['architecture'])}</code>",
        "accuracy,<br>predicted": lambda row: _percent(row["predicted_accuracy"], row["predicted_accuracy_std"]),
    }
    if "measured_accuracy" in measured:
        columns["accuracy,<br>evaluated"] = lambda row: _percent(row["measured_accuracy"])
    if run.has_latency:
        columns["latency,<br>predicted"] = lambda row: (
            f"{row['predicted_latency_ms']:.3g} ± {row['predicted_latency_std_ms']:.2g} ms"
        )
    if "measured_latency_ms" in measured:
        columns["latency,<br>measured"] = lambda row: _milliseconds(row["measured_latency_ms"])
        columns["sessions"] = lambda row: str(int(row.get("sessions", 1)))
        columns["p10"] = lambda row: _milliseconds(row["measured_p10_ms"])
        columns["p90"] = lambda row: _milliseconds(row["measured_p90_ms"])
    head = list(columns)
    rows = [[cell(row) for cell in columns.values()] for _, row in table.iterrows()]
    chosen = set((table["architecture"] == run.record["architecture"]).to_numpy().nonzero()[0].tolist())
    listing = html_table(head, rows, numbers=set(range(2, len(head))), chosen=chosen)
    title = _on("Finalists", device) + (": predicted against measured" if measured else ", as predicted")
    state = "" if image else " open"
    listing = f"<details{state}><summary>All {len(rows)} finalists</summary>{listing}</details>"
    return html_section(title, image + listing)


def _network(run: SearchRun) -> str:
    space = get_space(run.record["space"]["name"], **run.record["space"]["options"])
    layers = layer_table(space, run.record["architecture"])
    slots = slot_table(layers)
    heads = ["slot", "convolutions (window / stride)", "channels", "size (px)", "MACs", "parameters"]
    most = max(int(slots["macs"].max()), 1)
    rows = []
    for _, slot in slots.iterrows():
        bar = f'<span class="bar" style="width: {4 * slot["macs"] / most:.2f}rem"></span>{slot["macs"]:,}'
        texts = [escape(slot[column]) for column in ("slot", "windows", "channels", "size")]
        rows.append([*texts, bar, f"{slot['params']:,}"])
    every = [
        [*map(escape, layer[:6]), f"{layer[6]:,}", f"{layer[7]:,}"]
        for layer in layers.itertuples(index=False, name=None)
    ]
    names = ["slot", "layer", "operator", "window / stride", "channels", "size (px)", "MACs", "parameters"]
    listing = html_table(names, every, numbers={4, 5, 6, 7})
    return html_section(
        "The chosen network",
        html_table(heads, rows, numbers={2, 3, 4, 5})
        + f"<details><summary>All {len(layers)} layers</summary>{listing}</details>",
    )


def _reproduce(run: SearchRun) -> str:
    record = run.record
    command = f"<pre>{escape(record['command'])}</pre>" if record.get("command") else ""
    facts = [
        ("seed", str(record["seed"])),
        ("space", f"{record['space']['name']}, {int(record['space']['size']):.3g} networks"),
        ("device", record["device"] or "none"),
        ("candidates predicted", f"{record['evaluations']:,} in {record['search_seconds']:.2f} s of search"),
        ("rounds of finalists", str(record["rounds"])),
    ]
    if record.get("data"):
        facts.append(("data", str(record["data"])))
    if record.get("classes"):
        names = [str(name) for name in record["classes"]]
        more = f" and {len(names) - 20} more" if len(names) > 20 else ""
        facts.append(("classes", ", ".join(names[:20]) + more))
    facts += [(f"error of the {name} predictor", str(text)) for name, text in record.get("predictors", {}).items()]
    facts.append(("versions", ", ".join(f"{name} {number}" for name, number in record["versions"].items())))
    facts += [(name, str(what)) for name, what in record.get("files", {}).items()]
    rows = [[escape(name), escape(value)] for name, value in facts]
    convergence = _image(run, convergence_figure, "How the search went: steps that flatten out mean it was done.")
    convergence = f"<details><summary>Convergence</summary>{convergence}</details>"
    return html_section("How to get this again", command + html_table([], rows) + convergence)


def _honesty(run: SearchRun) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes(run))
    return html_section("Worth knowing", f"<ul>{items}</ul>")


def _image(run: SearchRun, draw: Callable[[SearchRun, Theme], Figure], caption: str) -> str:
    """The figure in both themes; the browser shows the one that fits."""
    light, dark = (f"data:image/png;base64,{b64encode(png(draw(run, theme))).decode()}" for theme in (LIGHT, DARK))
    return (
        f'<figure><picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{escape(caption)}"></picture><figcaption>{escape(caption)}</figcaption></figure>'
    )


def _percent(value: Any, std: Any = None) -> str:
    if value is None or pd.isna(value):
        return "–"
    return f"{100 * value:.2f} %" if std is None or pd.isna(std) else f"{100 * value:.2f} ± {100 * std:.2f} %"


def _milliseconds(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.3g} ms"
