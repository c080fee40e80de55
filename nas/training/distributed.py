"""One training run on several processes, started by torchrun: gloo on CPUs, nccl on GPUs.

    torchrun --nproc-per-node=2 --max-restarts=3 --no-python nas train --out RUN

Every process holds the whole supernet, trains the same subnets at each step on its part of the batch, and
averages gradients with the others once a step: that is one message for all subnets, where
`DistributedDataParallel` would send one for each. The first process writes the run folder, which all of them
must be able to read.
"""

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import MethodType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from nas.elastic import ElasticBatchNorm2d, active_slices
from nas.training.launched import NEEDED, Launched, launched

MEET_S = 120
"""How long processes wait for each other at the start, in seconds."""
OWN_STATISTICS = 32
"""From this many images a process on, each normalises by its own part of the batch; fewer are too noisy."""


@dataclass(frozen=True)
class Processes:
    """The processes of a run, as one of them sees them; by default there is only itself.

    Attributes
    ----------
    rank : number of this process; 0 writes the run folder.
    n : how many there are.
    local : number of this process on its machine, and of its GPU.
    """

    rank: int = 0
    n: int = 1
    local: int = 0

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def part(self, n_images: int) -> slice:
        """Which rows of a batch are this process's."""
        size = n_images // self.n
        return slice(self.rank * size, (self.rank + 1) * size)

    def average_(self, tensors: Sequence[Tensor]) -> None:
        """Replace `tensors`, in one message, by their means over all processes."""
        if self.n > 1:
            flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
            dist.all_reduce(flat)
            for tensor, mean in zip(tensors, torch.split(flat / self.n, [t.numel() for t in tensors]), strict=True):
                tensor.copy_(mean.view_as(tensor))

    def broadcast_(self, tensors: Iterable[Tensor]) -> None:
        """Give all processes the first one's `tensors`."""
        if self.n > 1:
            for tensor in tensors:
                whole = tensor.contiguous()  # channels-last weights are not
                dist.broadcast(whole, 0)
                tensor.copy_(whole)

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether `flag` is set in any process."""
        if self.n == 1:
            return flag
        flags = torch.tensor([float(flag)], device=device)
        dist.all_reduce(flags)
        return bool(flags.item())

    def same_folder(self, folder: Path) -> Path:
        """The first process's `folder`: a name with the time in it may differ between processes."""
        if self.n == 1:
            return folder
        names = [str(folder)]
        dist.broadcast_object_list(names, 0)
        return Path(names[0])


ALONE = Processes()


@contextmanager
def joined(on_gpu: bool) -> Iterator[Processes]:
    """Join the processes that torchrun started beside this one; alone where it did not."""
    told = launched()
    if told.n == 1:
        yield ALONE
        return
    local = told.local
    if on_gpu:
        torch.cuda.set_device(local)
    store, rank, n = _meet(told)
    if os.environ.get("GROUP_WORLD_SIZE") == "1":
        # torchrun keeps the store of a killed group, with the addresses of processes that have ended. Several machines
        # count their restarts apart; there TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 gives every group a new store.
        store = PrefixStore(f"restart{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    dist.init_process_group("nccl" if on_gpu else "gloo", store=store, rank=rank, world_size=n)
    try:
        yield Processes(rank, n, local)
    finally:
        dist.destroy_process_group()


def _meet(told: Launched) -> tuple[Any, int, int]:
    """The store through which the processes find each other, this one's number, and how many there are.

    Raises
    ------
    ValueError : the others do not come within `MEET_S`.
    """
    found: list[tuple[Any, int, int]] = []
    failures: list[Exception] = []

    def meet() -> None:
        try:
            found.append(next(rendezvous("env://", timeout=timedelta(seconds=MEET_S))))
        except Exception as error:
            failures.append(error)

    # In a thread, as the main thread would not listen to Ctrl-C meanwhile.
    thread = threading.Thread(target=meet, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.2)
    if failures:
        raise ValueError(
            f"WORLD_SIZE={told.n} says that {told.n} processes train together, but they did not meet within {MEET_S} "
            f"s; start them with torchrun, or type: unset {' '.join(NEEDED)}"
        ) from failures[0]
    return found[0]


def accelerator(name: str) -> str:
    """The torch device of that name, ``auto`` being CUDA where there is one; each of several processes has its own GPU.

    Raises
    ------
    ValueError : there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name != "cpu" and not name.startswith("cuda"):
        raise ValueError(f"unknown accelerator {name!r}; known: auto, cpu, cuda, cuda:N")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"{name} was asked for, but torch finds no CUDA device; use auto or cpu")
    return f"cuda:{launched().local}" if name == "cuda" and launched().n > 1 else name


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes, and of its gradient on the way back."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


@contextmanager
def synchronised_batch_norm(net: nn.Module, processes: Processes, batch_size: int) -> Iterator[None]:
    """While entered, normalise training batches by the statistics of all processes' images, where they are few.

    torch's own SyncBatchNorm is neither elastic nor for CPUs. Spreads are combined from each process's own mean
    and variance, which loses no precision.
    """
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    if processes.n == 1 or batch_size // processes.n >= OWN_STATISTICS:
        norms = []

    def forward(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
        if not norm.training:
            return type(norm).forward(norm, x)
        running_mean, running_var, weight, bias = active_slices(norm)
        variance, mean = torch.var_mean(x.float(), dim=(0, 2, 3), correction=0)
        own = torch.zeros(processes.n, 1, 1, device=x.device)
        own[processes.rank] = 1.0
        means, variances = _Sum.apply(own * torch.stack([mean, variance])).unbind(1)  # (processes, C) each
        mean, variance = means.mean(0), variances.mean(0) + means.var(0, correction=0)
        with torch.no_grad():
            count = processes.n * x.numel() // len(mean)
            assert norm.momentum is not None
            running_mean.lerp_(mean, norm.momentum)
            running_var.lerp_(variance * (count / (count - 1)), norm.momentum)
            if isinstance(norm, ElasticBatchNorm2d):
                norm.put_back(running_mean, running_var)
        scale = weight * torch.rsqrt(variance + norm.eps)
        shift = bias - mean * scale
        return torch.addcmul(shift[:, None, None], x, scale[:, None, None]).to(x.dtype)

    for norm in norms:
        norm.forward = MethodType(forward, norm)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward
