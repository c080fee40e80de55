"""A throughput as a budget: images a second at a given batch are a latency of that batch (milliseconds)."""

import re

from nas.search.budget import Limit

_TYPED = re.compile(r"([+]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*(img/s|images/s|fps|%)", re.IGNORECASE)
LEAST_MS, MOST_MS = 1e-6, 1e9


def as_latency(typed: str, batch: int, latency: str | None = None) -> str:
    """The limit on the latency of a batch that a throughput means, as it would be typed.

    Parameters
    ----------
    typed : ``500img/s``, or a percentage of the max net's throughput: ``150%``.
    batch : images an inference takes.
    latency : the limit on latency that is given as well; both must then be amounts, or both percentages, and the
        stricter one counts.

    Raises
    ------
    ValueError : no throughput, or a latency that it cannot be compared with.
    """
    match = _TYPED.fullmatch(str(typed).strip())
    number = float(match[1]) if match else 0.0
    if match is None or not 0 < number < float("inf"):
        raise ValueError(f"--throughput {typed[:60]!r} is no throughput; type images a second, like 500img/s, or 150%")
    relative = match[2] == "%"
    if relative and number < 100:
        raise ValueError(
            f"--throughput {typed[:60]} is less than the max net has, which every network keeps; type 100% or more"
        )
    amount = 1e4 / number if relative else 1e3 * batch / number
    if not LEAST_MS <= amount <= MOST_MS:
        raise ValueError(
            f"--throughput {typed[:60]} at batch {batch} is a latency of {amount:.3g} ms, which is impossible"
        )
    text = f"{amount:.6g}{'%' if relative else 'ms'}"
    if latency is None:
        return text
    if "=" in latency or (given := Limit.parse("latency", latency)).relative != relative:
        raise ValueError(
            f"--throughput {typed} is a latency of {text} at batch {batch}, which cannot be compared with "
            f"--latency {latency}; give one of them"
        )
    mine = Limit.parse("latency", text)
    return text if mine.value < given.value else latency


def check_batch(typed: str | None, batch: int, device: str, latency: object, answered: bool = False) -> None:
    """Refuse a throughput that was turned into a latency of other images than a device is known by.

    A percentage of the max net's throughput means the same at any batch.

    Parameters
    ----------
    typed : as of `as_latency`; None for no throughput.
    batch : images of the latency that it was turned into.
    latency : predicts that of `device`; its ``batch``, where it has one, is what it is known at.
    answered : by a finished search, which cannot be told another batch.

    Raises
    ------
    ValueError : the two differ.
    """
    known: int = getattr(latency, "batch", batch)
    if typed is None or known == batch or typed.strip().endswith("%"):
        return
    instead = f"--latency {as_latency(typed, known)} in its place" if answered else f"--batch {known}"
    raise ValueError(
        f"--throughput {typed} needs the latency of {batch} image{'' if batch == 1 else 's'} an inference, and "
        f"{device} is known at {known}; type {instead}"
    )
