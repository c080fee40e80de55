"""The report's table of the latency breakdown: what each part of the network adds."""

from html import escape

from nas.report.page import html_section, html_table
from nas.report.run_folder import SearchRun

EXPLANATION = (
    "Milliseconds that each part adds, as predicted once all measurements were in: the difference to the same network "
    "with that part as in the min net. What parts add only together, such as a higher resolution and wider blocks, is "
    'in the row "jointly". Shares are of what the part adds to the max net.'
)


def latency_breakdown_section(run: SearchRun, device: str) -> str:
    """HTML of the section, empty where no latency was predicted."""
    parts = [part for part in run.record.get("latency_breakdown", []) if part["device"] == device]
    if not parts:
        return ""
    # Rounding errors of single precision are no latency.
    least = 1e-5 * max(part["max_net_ms"] for part in parts)
    parts = [part for part in parts if max(abs(part["chosen_ms"]), abs(part["max_net_ms"])) > least]
    widest = max(max(part["chosen_ms"], part["max_net_ms"]) for part in parts)
    rows = []
    for part in parts:
        cells = [escape(part["part"])]
        for milliseconds in (part["chosen_ms"], part["max_net_ms"]):
            width = 5 * max(0.0, milliseconds) / widest
            cells.append(f'<span class="bar" style="width: {width:.2f}rem"></span>{milliseconds:.3g} ms')
        share = part["chosen_ms"] / part["max_net_ms"] if part["max_net_ms"] > least else None
        cells.append("" if share is None or part["part"] in ("min net", "jointly") else f"{max(0.0, share):.0%}")
        rows.append(cells)
    totals = [sum(part[column] for part in parts) for column in ("chosen_ms", "max_net_ms")]
    rows.append(["together", *(f"{total:.3g} ms" for total in totals), ""])
    title = "Latency by stage" + (f", on {device}" if device else "")
    table = html_table(["part", "chosen net", "max net", "share"], rows, numbers={1, 2, 3}, chosen={len(rows) - 1})
    return html_section(title, table + f'<p class="soft">{escape(EXPLANATION)}</p>')
