"""A recipe: how a supernet is trained, as data. One loop runs them all (`nas.training.loop`).

A recipe is a list of phases. A phase says for which share of the run it lasts, which genes are open, which
subnets a step trains and what they learn from. Lengths inside a phase are shares too, so that changing
`epochs` scales everything. `conf/recipe/<name>.yaml` has exactly these fields.
"""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, Literal, Self, get_args

GENE_KINDS = ("resolution", "depth", "kernel", "expansion", "width", "operator")
Sampler = Literal["max", "min", "random", "sandwich"]
Draw = Literal["uniform", "coupled", "budget"]
Target = Literal["labels", "max_net", "teacher", "external"]
Distillation = Literal["kl", "alpha"]
Regularised = Literal["all", "max_net"]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of training in which the same things happen at every step.

    Attributes
    ----------
    name : shown while it runs, and in the log.
    share : of the whole run, in (0, 1]; the shares of a recipe sum to 1.
    open : gene kinds that may differ from the max net, each with how many of its largest choices are open
        (0 for all of them). A kind that is not named stays at its largest choice; one that the space does
        not have is ignored. Empty: everything stays at its largest; null: everything is open.
    sampler : which subnets a step trains: ``max``; ``min`` (the smallest open one); ``random`` (`n_random`
        random ones); ``sandwich`` (max, min and `n_random` random ones).
    n_random : random subnets a step.
    draw : how random ones are drawn: ``uniform`` (every open gene for itself); ``coupled`` (a stage's expansions
        follow from its depth, deep is wide); ``budget`` (MACs first, then a network that costs about that).
    target : what they learn from: ``labels``; ``max_net`` (in-place distillation: the max net learns from
        labels, the others from its outputs at the same step); ``teacher`` (all learn from the max net as it
        was at the start of this phase, or of the first of several such phases in a row); ``external`` (all learn
        from the network given to `nas.training.train`).
    distillation : the loss towards a target that is not labels: ``kl``, the Kullback-Leibler divergence; or
        ``alpha``, the larger of two alpha-divergences, image by image.
    alpha_min, alpha_max, alpha_clip : of ``alpha``: the two orders, and the most that a class's ratio of
        probabilities, to the power of the order, counts for.
    label_weight : weight of the labels' cross-entropy added to a distillation loss.
    ramp : share of the phase over which the loss of subnets other than the max net grows from 0 to its full
        weight.
    sort_channels : before the first step, put the important channels of every layer first.
    learning_rate : peak of this phase's own warm-up and cosine; null continues the recipe's.
    """

    name: str
    share: float
    open: Mapping[str, int] | None = None
    sampler: Sampler = "max"
    n_random: int = 0
    draw: Draw = "uniform"
    target: Target = "labels"
    distillation: Distillation = "kl"
    alpha_min: float = -1.0
    alpha_max: float = 1.0
    alpha_clip: float = 5.0
    label_weight: float = 0.0
    ramp: float = 0.0
    sort_channels: bool = False
    learning_rate: float | None = None

    def __post_init__(self) -> None:
        where = f"phase {self.name!r}"
        _number(where, "share", self.share, above=0, most=1)
        _choice(where, "sampler", self.sampler, get_args(Sampler))
        _choice(where, "draw", self.draw, get_args(Draw))
        _choice(where, "target", self.target, get_args(Target))
        _choice(where, "distillation", self.distillation, get_args(Distillation))
        _number(where, "n_random", self.n_random, least=0, integer=True)
        _number(where, "alpha_min", self.alpha_min, most=0)
        _number(where, "alpha_max", self.alpha_max, above=0)
        _number(where, "alpha_clip", self.alpha_clip, above=1)
        _number(where, "label_weight", self.label_weight, least=0)
        _number(where, "ramp", self.ramp, least=0, most=1)
        _boolean(where, "sort_channels", self.sort_channels)
        if self.learning_rate is not None:
            _number(where, "learning_rate", self.learning_rate, above=0)
        if self.open is not None:
            if not isinstance(self.open, Mapping):
                raise ValueError(f"{where}: open maps gene kinds to numbers of choices, got {self.open!r}")
            for kind, count in self.open.items():
                _choice(where, "a key of open", kind, GENE_KINDS)
                _number(where, f"open.{kind}", count, least=0, integer=True)
            if self.draw == "coupled" and self.open.get("depth") != self.open.get("expansion"):
                raise ValueError(
                    f"{where}: draw coupled ties expansions to depths; open both with the same number of choices, "
                    f"not depth {self.open.get('depth', 'closed')} and expansion {self.open.get('expansion', 'closed')}"
                )
        if self.sampler == "random" and self.n_random == 0:
            raise ValueError(f"{where}: the sampler random trains n_random subnets a step; set it to 1 or more")
        if self.draw != "uniform" and self.n_random == 0:
            raise ValueError(f"{where}: draw {self.draw} draws random subnets; set n_random to 1 or more")
        if self.sampler in ("max", "min") and self.n_random:
            raise ValueError(f"{where}: the sampler {self.sampler} trains no random subnets; set n_random to 0")
        if self.target == "max_net" and self.sampler != "sandwich":
            raise ValueError(f"{where}: target max_net needs the max net in every step; use sampler sandwich")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train a supernet: stochastic gradient descent through a list of phases.

    Attributes
    ----------
    name, paper : what it is, and where it was published (title and URL).
    epochs : length of the whole run, in passes over the train split; a fraction ends within one.
    batch_size : images a step, for each of its subnets.
    phases : in order.
    learning_rate : peak; rises linearly over `warmup`, then falls to 0 along a cosine.
    warmup : share of the run (of the phase, where a phase has its own learning rate).
    least_learning_rate : share of the peak below which the cosine does not fall.
    momentum, nesterov : as in `torch.optim.SGD`.
    weight_decay : of weight matrices and kernels; biases and batch-norms have none.
    dropout : chance in [0, 1) with which a feature that the classifier reads is left out.
    regularise : ``all`` subnets, or ``max_net``: no other has dropout, and only steps that train it decay weights.
    clip_norm : largest Euclidean norm of a step's gradient, longer ones are scaled to it; null for any.
    label_smoothing : in [0, 1), of the cross-entropy with labels.
    crop_padding : images shift by up to this many stored pixels.
    kernel_transform : learn matrices that turn large depthwise kernels into smaller ones.
    zero_init_residuals : let every residual block start as the identity.
    averaging : share of the run that the weights' exponential moving average looks back; the averaged weights
        are what is evaluated and kept. 0 keeps the weights themselves.
    """

    name: str
    paper: str
    epochs: float
    batch_size: int
    phases: tuple[Phase, ...] = field(default_factory=tuple)
    learning_rate: float = 0.1
    warmup: float = 0.0
    least_learning_rate: float = 0.0
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 0.0
    dropout: float = 0.0
    regularise: Regularised = "all"
    clip_norm: float | None = None
    label_smoothing: float = 0.0
    crop_padding: int = 0
    kernel_transform: bool = False
    zero_init_residuals: bool = False
    averaging: float = 0.0

    def __post_init__(self) -> None:
        where = f"recipe {self.name!r}"
        _number(where, "epochs", self.epochs, above=0)
        _number(where, "batch_size", self.batch_size, least=2, integer=True)
        _number(where, "learning_rate", self.learning_rate, above=0)
        _number(where, "warmup", self.warmup, least=0, most=1)
        _number(where, "least_learning_rate", self.least_learning_rate, least=0, most=1)
        _number(where, "momentum", self.momentum, least=0, below=1)
        _boolean(where, "nesterov", self.nesterov)
        _number(where, "weight_decay", self.weight_decay, least=0)
        _number(where, "dropout", self.dropout, least=0, below=1)
        _choice(where, "regularise", self.regularise, get_args(Regularised))
        _number(where, "label_smoothing", self.label_smoothing, least=0, below=1)
        _number(where, "crop_padding", self.crop_padding, least=0, integer=True)
        _boolean(where, "kernel_transform", self.kernel_transform)
        _boolean(where, "zero_init_residuals", self.zero_init_residuals)
        _number(where, "averaging", self.averaging, least=0, most=1)
        if self.clip_norm is not None:
            _number(where, "clip_norm", self.clip_norm, above=0)
        if self.nesterov and not self.momentum:
            raise ValueError(f"{where}: nesterov needs a momentum above 0")
        if not self.phases:
            raise ValueError(f"{where} has no phases; give at least one")
        if abs((total := sum(phase.share for phase in self.phases)) - 1) > 1e-6:
            raise ValueError(f"{where}: the shares of its phases must sum to 1, they sum to {total:g}")

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        """Make a recipe from plain values, as read from its YAML file.

        Raises
        ------
        ValueError : a field is unknown, missing, or has a value that cannot work.
        """
        name = f"recipe {settings.get('name', '')!r}"
        phases = settings.get("phases")
        if not isinstance(phases, (list, tuple)) or not all(isinstance(phase, Mapping) for phase in phases):
            raise ValueError(f"{name}: phases must be a list of mappings, got {phases!r}")
        made = []
        for number, phase in enumerate(phases, start=1):
            _check_fields(Phase, phase, f"phase {phase.get('name', number)!r}")
            made.append(Phase(**phase))
        _check_fields(cls, settings, name)
        return cls(**{**settings, "phases": tuple(made)})

    def as_dict(self) -> dict[str, Any]:
        """Plain values that `from_dict` takes."""
        return asdict(self) | {"phases": [asdict(phase) for phase in self.phases]}


def _check_fields(cls: type[Phase] | type[Recipe], settings: Mapping[str, Any], where: str) -> None:
    known = [f.name for f in fields(cls)]
    if unknown := [key for key in settings if key not in known]:
        raise ValueError(f"{where} has no field {unknown[0]!r}; allowed: {', '.join(known)}")
    required = [f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING]
    if missing := [key for key in required if key not in settings]:
        raise ValueError(f"{where} lacks {', '.join(missing)}")


def _choice(where: str, name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{where}: {name} must be one of {', '.join(allowed)}, got {value!r}")


def _boolean(where: str, name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{where}: {name} must be true or false, got {value!r}")


def _number(
    where: str,
    name: str,
    value: object,
    *,
    least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    most: float | None = None,
    integer: bool = False,
) -> None:
    bounds = {"at least": least, "above": above, "below": below, "at most": most}
    rule = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)
    if (
        isinstance(value, bool)
        or not isinstance(value, int if integer else (int, float))
        or (least is not None and not value >= least)
        or (above is not None and not value > above)
        or (below is not None and not value < below)
        or (most is not None and not value <= most)
    ):
        # YAML reads 1e-4 as text, 1.0e-4 as a number.
        hint = " (write 1.0e-4, not 1e-4)" if isinstance(value, str) and "e" in value.lower() else ""
        kind = "a whole number" if integer else "a number"
        raise ValueError(f"{where}: {name} must be {kind} {rule}, got {value!r}{hint}")
