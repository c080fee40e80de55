"""What is known of a shipped supernet, for people."""

from typing import Any

from experiments.conditions import made_on
from nas.supernet import Supernet
from nas.training.duration import show_duration

MOST_CLASSES = 20
"""That are listed."""


def versions() -> str:
    """Machine and packages, on one line."""
    return made_on("torch", "numpy", "scikit-learn")


def card_text(card: dict[str, Any], supernet: Supernet) -> str:
    """``CARD.md``."""
    data, recipe, stand_in, table = card["data"], card["recipe"], card["stand_in"], card["table"]
    space = supernet.space
    rows = "\n".join(
        f"| {s['role']} | {s['macs'] / 1e6:.2f} | {s['params'] / 1e3:.0f} | {s['validation_accuracy']:.2%} | "
        f"{s['test_accuracy']:.2%} ± {s['test_error']:.2%} | `{s['architecture']}` |"
        for s in card["subnets"]
    )
    phases = "; ".join(f"{phase['name']} ({phase['share']:.0%})" for phase in recipe["phases"])
    return f"""# A supernet trained on {data["name"]}

| | |
|---|---|
| space | {space.name}, {space.size:.3g} networks, {data["resolution"]} x {data["resolution"]} pixels |
| classes | {_classes(card["classes"])} |
| normalisation | pixels / 255, mean {_three(card["mean"])}, standard deviation {_three(card["std"])} |
| data | {data["source"]} |
| splits | {data["sizes"]["train"]:,} training images, {data["sizes"]["validation"]:,} search-validation, \
{data["sizes"]["test"]:,} test; seed {card["data_settings"].get("seed", 0)}, fingerprint {data["fingerprint"][:16]} |
| recipe | {recipe["name"]}, {recipe["epochs"]:g} epochs of batches of {recipe["batch_size"]}, peak learning rate \
{recipe["learning_rate"]:g}: {phases} |
| paper | {recipe["paper"]} |
| cost | {card["steps"]:,} steps, {show_duration(card["seconds"])}, on {card["machine"]} |
| licence | {card["licence"]} |

## Accuracy

Inherited weights, no fine-tuning, batch-norm calibrated on `calibration.png`, as a search without images deploys them.
The networks were chosen by search-validation accuracy alone; the test split was read afterwards, once.
{_original(card)}
| network | M MACs | k parameters | search-validation | test | architecture |
|---|---|---|---|---|---|
{rows}

## What a search knows without the images

`calibration.png` holds {stand_in["images"]} synthesised images: noise, optimised until the mean and the variance that
it causes before each batch-norm of {stand_in["subnets"]} subnets are those that real training images cause (after
ZeroQ, https://arxiv.org/abs/2001.00281, and DeepInversion, https://arxiv.org/abs/1912.08795). On
{len(stand_in["compared"])} random subnets, search-validation accuracy with it is \
{abs(stand_in["mean_loss_points"]):.2f} points {"lower" if stand_in["mean_loss_points"] >= 0 else "higher"} on average
than with real training images, {stand_in["worst_loss_points"]:.2f} points lower at worst.

`accuracy.csv` has the search-validation accuracy of {table["subnets"]} subnets, evaluated in just this way: the
smallest and the largest, random ones of all sizes, and ones near the best trade-offs. The accuracy predictor fitted to
it errs by {100 * table["rmse"]:.2f} points, rank correlation (Kendall) {table["kendall_tau"]:.2f}, each predicted from
the others.

With the images themselves (`data` above), a search evaluates everything for real:

    nas search --supernet {data["name"]} --data PATH --device cpu --latency 60%

Made by `python -m experiments.ship_supernet` on {card["shipped"]["versions"]}; seed {card["shipped"]["seed"]}.
"""


def _original(card: dict[str, Any]) -> str:
    """Accuracy of the trained network that it was made of, if any."""
    if "original" not in card:
        return ""
    original = card["original"]
    return (
        f"{original['title']}, which it was made of, reaches {original['validation']:.1%} and {original['test']:.1%} "
        f"on the same images\nwith its own batch-norm statistics; {original['published']:.1%} is what was published of "
        "it, on other images.\n"
    )


def _classes(names: list[str]) -> str:
    """All of them, or how many and the first ones."""
    if len(names) <= MOST_CLASSES:
        return ", ".join(names)
    return f"{len(names):,}: {', '.join(names[:3])}, ...; all of them in `supernet.json`"


def _three(values: list[float]) -> str:
    return " ".join(f"{value:.4f}" for value in values)
