"""``report.html``: what a search found, how sure that is, and how to repeat it, on one page that stands alone.

No script, no font, no image from elsewhere; readable in light and dark. Whatever comes from the run folder is shown as
text and checked when it is read. Accuracies are shown in percent, latencies in milliseconds.
"""

from pathlib import Path

from latency_tables.files import atomic_path, write_text
from nas.report.baselines import baseline_section
from nas.report.drawing import png
from nas.report.figures import pareto_figure
from nas.report.page import Cell, Items, Page, Section, Tile
from nas.report.run_folder import SearchRun
from nas.report.sections import (
    budget_section,
    class_section,
    file_section,
    finalist_section,
    front_section,
    latency_breakdown_section,
    network_section,
    precision_section,
    run_section,
)
from nas.report.sentences import badge, headline, notes, subline
from nas.report.words import accuracy_on_test, milliseconds, percent
from nas.search.budget import METRIC_OF
from nas.search.record import SearchRecord
from nas.training.duration import show_duration


def write_report(folder: Path) -> Path:
    """Write ``pareto.png`` and ``report.html`` into the run folder of a search.

    Returns
    -------
    The page's path.

    Raises
    ------
    ValueError : `folder` is not that of a finished search, or a file in it is damaged.
    """
    run = SearchRun.read(folder)
    text = render(run, folder)
    for device in run.devices:
        with atomic_path(folder / (f"pareto_{device}.png" if device else "pareto.png")) as temporary:
            temporary.write_bytes(png(pareto_figure(run.on(device))))
    page = folder / "report.html"
    write_text(page, text)
    return page


def render(run: SearchRun, folder: Path) -> str:
    """The page as a string."""
    record = run.record
    sections = [
        *(front_section(run.on(device), device) for device in run.devices),
        precision_section(run),
        budget_section(run),
        file_section(run),
        baseline_section(run),
        class_section(run),
        *(finalist_section(run.on(device), device) for device in run.devices),
        *(latency_breakdown_section(run, device) for device in run.devices),
        network_section(run),
        run_section(run, folder),
        Section("Notes on these figures", [Items(notes(run))]),
    ]
    page = Page(
        title=f"nas search: {record['architecture']}",
        status=record["status"],
        badge=badge(record),
        headline=headline(record),
        sublines=[Cell(record["architecture"], kind="code"), subline(record)],
        tiles=_tiles(run),
        sections=sections,
    )
    return page.render()


def _tiles(run: SearchRun) -> list[Tile]:
    record = run.record
    predicted, measured, costs = record["predicted"], record["measured"], record["costs"]
    name, chosen_by = run.accuracy_name.capitalize(), measured["accuracy"]
    expected = f"predicted {percent(predicted['accuracy'], predicted['accuracy_std'])}"
    if (shown := accuracy_on_test(record)) is not None:
        details = [f"{record['test_images']:,} images"] if "test_images" in record else []
        if "test_balanced_accuracy" in record:
            details.append(f"balanced accuracy {percent(record['test_balanced_accuracy'])}")
        if chosen_by is not None:
            details.append(f"search-validation {percent(chosen_by)} {run.accuracy_name}")
        tiles = [Tile("Accuracy on the test split", shown, "; ".join([*details, expected]))]
    elif chosen_by is not None:
        tiles = [Tile(f"{name} on search-validation", percent(chosen_by), expected)]
    else:
        tiles = [Tile(f"{name}, predicted", percent(predicted["accuracy"], predicted["accuracy_std"]), "not evaluated")]
    tiles += [_latency_tile(view.record) for view in run.views if view.has_latency]
    if side := record.get("resolution"):
        tiles.append(Tile("Input size", f"{side} × {side} px", "of one image"))
    if seconds := record.get("seconds"):
        tuned = "of" in (record.get("finetuning") or {})
        detail = "of fine-tuning" if tuned else f"of which {record['search_seconds']:.1f} s of search"
        tiles.append(Tile("Total time", show_duration(seconds), detail))
    for key in ("macs", "params", "weight_bytes", "peak_activation_bytes"):
        metric = METRIC_OF[key]
        title = metric.title if metric.title.startswith("MAC") else metric.title.capitalize()
        tiles.append(Tile(title, metric.format(costs[key]), "computed from the layers, for one image"))
    return tiles


def _latency_tile(record: SearchRecord) -> Tile:
    predicted, measured = record["predicted"], record["measured"]
    expected = milliseconds(predicted["latency_ms"], predicted["latency_std_ms"])
    if measured["latency_ms"] is None:
        where = f" on {record['device']}" if record["device"] else ""
        return Tile(f"Latency{where}, predicted", expected, "not measured")
    detail = f"p10 {milliseconds(measured['p10_ms'])}, p90 {milliseconds(measured['p90_ms'])}; predicted {expected}"
    return Tile(f"Latency on {record['device']}, measured", milliseconds(measured["latency_ms"]), detail)
