"""`nas worker`: evaluate subnets for the searches of a storage."""

from pathlib import Path

from nas.cli.call import Call
from nas.cli.config import WorkerConfig
from nas.cli.console import output, remarks
from nas.progress import Listener, counted


def run(config: WorkerConfig, call: Call) -> int:
    """Work until nothing has waited for a while, or until stopped."""
    if config.storage is None:
        raise ValueError("which storage? type: nas worker --storage URL, with the URL that the search was given")

    import torch

    from nas.evaluation.worker import work

    if config.threads is not None:
        torch.set_num_threads(config.threads)
    evaluated = work(
        config.storage,
        None if config.supernet is None else Path(config.supernet),
        call.given_data(config.data.as_dict()) or None,
        idle_s=config.idle_s,
        listener=Listener(say=remarks.print),
    )
    output.print(f"{counted(evaluated, 'subnet')} evaluated")
    return 0
