"""Networks as users write them: good ones, and ones that cannot become elastic."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth


class Small(nn.Module):
    """Pooling, splitting, a gate through fully connected layers, hand-written hard-swish, flattening by view."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(inplace=True))
        self.left = nn.Conv2d(16, 32, 3, padding=2, dilation=2)
        self.right = nn.Conv2d(16, 32, 5, padding="same", groups=4)
        self.norm = nn.BatchNorm2d(64, affine=False)
        self.squeeze = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 64), nn.Sigmoid())
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(64, 96, 1), nn.SiLU(), nn.Conv2d(96, 64, 3, padding=1)) for _ in range(3)
        )
        self.pool = nn.AvgPool2d(3, 2, 1)
        self.classify = nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem((images - 0.5) / 0.25)
        a, b = x.chunk(2, dim=1)
        x = self.norm(torch.cat([self.left(a), self.right(b)], 1))
        gate = self.squeeze(x.mean((2, 3)))
        x = x * gate[:, :, None, None]
        x = x * torch.clamp(x + 3, 0, 6) / 6
        x = self.pool(x)
        for block in self.blocks:
            x = x + block(x)
        x = nn.functional.adaptive_avg_pool2d(x, 1)
        return self.classify(x.view(x.shape[0], -1))


class ForSmallImages(nn.Module):
    """Flattens a map of several pixels, so that it takes images of one size."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU()
        )
        self.head = nn.Sequential(
            nn.MaxPool2d(4), nn.Flatten(), nn.Linear(64 * 16, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 4)
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


class Convolutional(nn.Module):
    """Its classifier is a convolution, with the mean of its pixels behind it; nothing else reads the 48 features."""

    def __init__(self, classes: int = 4, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 48, 3, padding=1), nn.ReLU()
        )
        self.classify = nn.Sequential(nn.Conv2d(48, classes, 1), activation or nn.Identity())

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.features(images)).mean((2, 3))


class WithoutBias(nn.Module):
    """Its classifier has no bias."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU())
        self.classify = nn.Linear(32, classes, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.features(images).mean((2, 3)))


class Windows(nn.Module):
    """Depthwise windows with less padding than usual, and none."""

    def __init__(self) -> None:
        super().__init__()
        windows = [nn.Conv2d(32, 32, side, padding=padding, groups=32) for side, padding in ((5, 0), (7, 1), (5, 2))]
        self.blocks = nn.Sequential(*(nn.Sequential(nn.Conv2d(32, 32, 1), nn.ReLU(), window) for window in windows))
        self.stem, self.classify = nn.Conv2d(3, 32, 3, 2, 1), nn.Linear(32, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.blocks(self.stem(images)).mean((2, 3)))


class Copying(nn.Module):
    """Works in place on a copy, and reads what was copied afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.classify = nn.Conv2d(3, 32, 3, 2, 1), nn.Linear(32, 4)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        y = x.clone().relu_()
        return self.classify((x + y).mean((2, 3)))


class Gated(nn.Module):
    """A gate that is expanded before it is multiplied, the rest of it for a shortcut, and scores behind a scale."""

    def __init__(self, classes: int = 4, behind: nn.Module | None = None) -> None:
        super().__init__()
        self.stem, self.classify = nn.Conv2d(3, 32, 3, 2, 1), nn.Linear(32, classes)
        self.squeeze = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 32), nn.Sigmoid())
        self.behind = behind

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        n, channels, height, width = x.shape
        gate = self.squeeze(x.mean((2, 3))).view(n, channels, 1, 1)
        x = x * gate.expand_as(x) + (1 - gate).expand(-1, -1, height, width) * torch.relu(x)
        scores = self.classify(x.mean((2, 3)))
        return scores / 0.07 if self.behind is None else self.behind(scores)


class Pooled(nn.Module):
    """Its global pooling is written in one of the ways that are older than `AdaptiveAvgPool2d`."""

    def __init__(self, pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.stem, self.classify, self.pool = nn.Conv2d(3, 32, 3, 2, 1), nn.Linear(32, 4), pool

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.pool(self.stem(images).relu()).flatten(1))


class Dropping(nn.Module):
    """Its dropout does not know that it is evaluated."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.classify = nn.Conv2d(3, 32, 3, 2, 1), nn.Linear(32, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(nn.functional.dropout(self.stem(images).mean((2, 3))))


class Scale(nn.Module):
    """Multiplies each score by a number that is learnt."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((classes,), 3.0))

    def forward(self, scores: Tensor) -> Tensor:
        return scores * self.gamma


class Repeated(nn.Module):
    """One block is used three times; dropout and stochastic depth."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.classify = nn.Conv2d(3, 32, 3, 2, 1), nn.Linear(32, 4)
        self.block = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU())
        self.shallower, self.drop = StochasticDepth(0.2, "row"), nn.Dropout(0.4)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        for _ in range(3):
            x = x + self.shallower(self.block(x))
        return self.classify(self.drop(x.mean((2, 3))))


class OfPixels(nn.Module):
    """Normalises what it has flattened."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.classify = nn.Conv2d(3, 8, 3, 4, 1), nn.LazyBatchNorm1d(), nn.LazyLinear(4)

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.norm(self.stem(images).flatten(1)))


class Repeating(nn.Module):
    """Concatenates the mean of a map, as large as the map, with it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.classify = nn.Conv2d(3, 32, 3, 2, 1), nn.Linear(64, 4)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        return self.classify(torch.cat([x, x.mean((2, 3), keepdim=True).expand_as(x)], 1).mean((2, 3)))


class Deciding(nn.Module):
    """Does one thing or another, by the values of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv(images)
        return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))


class Wrapped(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images)


class TwoInputs(nn.Module):
    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return first + second


class TwoOutputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = self.conv(images).mean((2, 3))
        return x, x


class Softmax(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.last = nn.Softmax(1)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.conv(images).mean((2, 3)))


def small() -> nn.Module:
    return Small()


def ten_classes() -> nn.Module:
    return Small(10)


def for_small_images() -> nn.Module:
    return ForSmallImages()


def convolutional() -> nn.Module:
    return Convolutional()


def rectified() -> nn.Module:
    return Convolutional(activation=nn.ReLU())


def gated() -> nn.Module:
    return Gated()


def repeated() -> nn.Module:
    return Repeated()


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(16, 3, 4, 1), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4))


def of_pixels() -> nn.Module:
    return OfPixels()


def repeating() -> nn.Module:
    return Repeating()


def pooled_by_its_size() -> nn.Module:
    return Pooled(lambda x: nn.functional.avg_pool2d(x, x.size()[2:]))


def averaged_twice() -> nn.Module:
    return Pooled(lambda x: x.mean(3).mean(2))


def pooled_at_one_size() -> nn.Module:
    return Pooled(nn.AvgPool2d(32))


def dropping() -> nn.Module:
    return Dropping()


def windows() -> nn.Module:
    return Windows()


def copying() -> nn.Module:
    return Copying()


def of_timm() -> nn.Module:
    """As a network is that timm has made."""
    module = Small()
    module.default_cfg = {"input_size": (3, 96, 96), "mean": (0.5, 0.4, 0.3), "std": (0.25, 0.25, 0.5)}
    return module


def deciding() -> nn.Module:
    return Wrapped(Deciding())


def two_inputs() -> nn.Module:
    return TwoInputs()


def two_outputs() -> nn.Module:
    return TwoOutputs()


def dense_labels() -> nn.Module:
    return nn.Conv2d(3, 8, 3)


def softmax() -> nn.Module:
    return Softmax()


def raising() -> nn.Module:
    raise RuntimeError("the licence file is missing\nand so is the rest")


def no_network() -> int:
    return 3


def with_argument(width: int) -> nn.Module:
    return nn.Conv2d(3, width, 3)


not_a_function = 5
