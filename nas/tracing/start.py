"""Where training starts from an adopted network: all that was trained is kept, and the classifier fits the classes."""

from dataclasses import dataclass

import torch

from nas.elastic import ChannelScale
from nas.supernet import Supernet
from nas.tracing.adopt import Adopted
from search_spaces import SearchSpace


@dataclass(frozen=True)
class Start:
    """A supernet to begin training with.

    Attributes
    ----------
    supernet : in training mode; its max net computes the features of the given network.
    new : names of the parameters that were drawn anew (the classifier's); empty where the classes are the same.
    """

    supernet: Supernet
    new: tuple[str, ...]


@torch.no_grad()
def start_from(adopted: Adopted, space: SearchSpace, seed: int = 0) -> Start:
    """The adopted network in `space`, which may have other classes than its own.

    Channels are sorted by importance, by the weights that read them, those of the given classifier among them; the max
    net stays what it was. Where the number of classes differs, the classifier is then drawn anew; a constant that all
    its scores are multiplied by stays.

    Parameters
    ----------
    adopted : its own supernet is left as it is.
    space : that of `adopted`, but for the number of classes.
    seed : of the new classifier.

    Raises
    ------
    ValueError : the space of another network.
    """
    if space.name != adopted.space.name:
        raise ValueError(f"{space.name} is not the space of {adopted.space.name}")
    given = Supernet(adopted.space)
    given.load_state_dict(adopted.supernet.state_dict())
    given.sort_channels()  # before the classifier that was trained with them is gone
    torch.manual_seed(seed)
    supernet = Supernet(space)
    weights, own = given.state_dict(), supernet.state_dict()
    for path, module in supernet.named_modules():
        if isinstance(module, ChannelScale) and module.frozen:
            for key in (f"{path}.{name}" for name, _ in module.named_buffers(recurse=False)):
                if (weights[key] == weights[key][0]).all():
                    weights[key] = weights[key][:1].expand_as(own[key])
    new = tuple(key for key in own if own[key].shape != weights[key].shape)
    supernet.load_state_dict({key: own[key] if key in new else weights[key] for key in own})
    return Start(supernet.train(), new)
