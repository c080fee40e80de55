"""A recipe: how networks are trained, as data. One loop runs them all (`nas.training.loop`).

A recipe is a list of phases. A phase says for which share of the run it lasts, which genes are open, which
subnets a step trains and what they learn from. Lengths inside a phase are shares too, so that changing
`epochs` scales everything. The defaults here are the recipe `delayed_sandwich`; `conf/recipe/<name>.yaml` says
only what differs from them (`nas.training.recipes` reads those files).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, get_args

from nas.training.augmentation import Augmentation, Flip, PadCrop, read_augmentation
from nas.training.checks import check_boolean, check_choice, check_fields, check_number

GENE_KINDS = ("resolution", "depth", "kernel", "expansion", "width", "operator", "branches")
Sampler = Literal["max", "min", "random", "sandwich", "widest"]
Draw = Literal["uniform", "coupled", "budget"]
Target = Literal["labels", "max_net", "teacher", "external"]
Distillation = Literal["kl", "alpha"]
Optimizer = Literal["sgd", "adamw"]
Regularised = Literal["all", "max_net"]
CudaGraphs = Literal["off", "auto"]

MOST_EPOCHS = 25
"""Of fine-tuning."""

OFA_PAPER = (
    "Once-for-All: Train One Network and Specialize it for Efficient Deployment (ICLR 2020), "
    "https://arxiv.org/abs/1908.09791"
)


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
        random ones); ``sandwich`` (max, min and `n_random` random ones); ``widest`` (the max net at a random open
        resolution and `n_random` random ones).
    n_random : random subnets a step.
    draw : how random ones are drawn: ``uniform`` (every open gene for itself); ``coupled`` (a stage's expansions
        follow from its depth, deep is wide); ``budget`` (MACs first, then a network that costs about that).
    target : what they learn from: ``labels``; ``max_net`` (in-place distillation: the max net, at its resolution,
        learns from labels, the others from its outputs at the same step); ``teacher`` (all learn from the max net as it
        was at the start of this phase, or of the first of several such phases in a row; one network alone, from
        itself as it was then); ``external`` (all learn from the network given to `nas.training.train` as teacher).
    external_share : in [0, 1]: what the max net learns from the external network, where there is one, in place of
        labels; for targets ``labels`` and ``max_net``.
    distillation : the loss towards a target that is not labels: ``kl``, the Kullback-Leibler divergence; or
        ``alpha``, the larger of two alpha-divergences, image by image.
    alpha_min, alpha_max, alpha_clip : of ``alpha``: the two orders, and the most that a class's ratio of
        probabilities, to the power of the order, counts for.
    label_weight, distillation_weight : where the target is not labels: weights of the labels' cross-entropy and of the
        distillation loss in their sum.
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
    external_share: float = 0.0
    distillation: Distillation = "kl"
    alpha_min: float = -1.0
    alpha_max: float = 1.0
    alpha_clip: float = 5.0
    label_weight: float = 0.0
    distillation_weight: float = 1.0
    ramp: float = 0.0
    sort_channels: bool = False
    learning_rate: float | None = None

    def __post_init__(self) -> None:
        where = f"phase {self.name!r}"
        check_number(where, "share", self.share, above=0, most=1)
        check_choice(where, "sampler", self.sampler, get_args(Sampler))
        check_choice(where, "draw", self.draw, get_args(Draw))
        check_choice(where, "target", self.target, get_args(Target))
        check_choice(where, "distillation", self.distillation, get_args(Distillation))
        check_number(where, "n_random", self.n_random, least=0, integer=True)
        check_number(where, "alpha_min", self.alpha_min, most=0)
        check_number(where, "alpha_max", self.alpha_max, above=0)
        check_number(where, "alpha_clip", self.alpha_clip, above=1)
        check_number(where, "label_weight", self.label_weight, least=0)
        check_number(where, "distillation_weight", self.distillation_weight, above=0)
        check_number(where, "ramp", self.ramp, least=0, most=1)
        check_number(where, "external_share", self.external_share, least=0, most=1)
        check_boolean(where, "sort_channels", self.sort_channels)
        if self.learning_rate is not None:
            check_number(where, "learning_rate", self.learning_rate, above=0)
        if self.open is not None:
            if not isinstance(self.open, Mapping):
                raise ValueError(f"{where}: open maps gene kinds to numbers of choices, got {self.open!r}")
            for kind, count in self.open.items():
                check_choice(where, "a key of open", kind, GENE_KINDS)
                check_number(where, f"open.{kind}", count, least=0, integer=True)
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
        if self.external_share and self.target not in ("labels", "max_net"):
            raise ValueError(
                f"{where}: external_share is in place of labels, which the max net learns from at targets labels and "
                f"max_net, not at {self.target}; set it to 0"
            )
        if self.target == "max_net" and self.sampler not in ("sandwich", "widest"):
            raise ValueError(f"{where}: target max_net needs the max net in every step; use sampler sandwich or widest")


DELAYED_SANDWICH = (
    Phase(name="max net alone", share=0.3),
    Phase(name="sandwich", share=0.7, sampler="sandwich", n_random=2, target="max_net", ramp=0.1, sort_channels=True),
)


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What every training has, of a supernet or of one network: stochastic gradient descent on augmented images.

    Attributes
    ----------
    epochs : length of the whole run, in passes over the train split; a fraction ends within one.
    batch_size : images a step, for each of its subnets.
    learning_rate : peak; rises linearly over `warmup`, then falls to 0 along a cosine.
    trained_share : of the learning rate, for all weights but the classifier's: below 1 where the others are trained
        already.
    warmup : share of the run (of the phase, where a phase has its own learning rate).
    least_learning_rate : share of the peak below which the cosine does not fall.
    optimizer : ``sgd``, stochastic gradient descent, or ``adamw``, whose steps adapt to each weight
        (https://arxiv.org/abs/1711.05101); its learning rates are some ten times smaller.
    momentum : of gradients.
    nesterov : as in `torch.optim.SGD`; ``adamw`` has no such choice.
    weight_decay : of weight matrices and kernels; biases and batch-norms have none.
    dropout : chance in [0, 1) with which a feature that the classifier reads is left out.
    regularise : ``all`` subnets, or ``max_net``: no other has dropout, and only steps that train it decay weights.
    clip_norm : largest Euclidean norm of a step's gradient, longer ones are scaled to it; null for any.
    label_smoothing : in [0, 1), of the cross-entropy with labels.
    augmentation : how training images are changed, in this order; see `nas.training.augmentation`.
    balance_classes : show all classes equally often: an epoch repeats images of rare classes and leaves out some of
        frequent ones.
    ema : share of the run that the exponential moving average of the weights looks back; the averaged weights
        are what is evaluated and kept. 0 keeps the weights themselves.
    phases : in order.

    Raises
    ------
    ValueError : a value that cannot work.
    """

    epochs: float = 28
    batch_size: int = 64
    learning_rate: float = 0.1
    trained_share: float = 1.0
    warmup: float = 0.05
    least_learning_rate: float = 0.0
    optimizer: Optimizer = "sgd"
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 1e-4
    dropout: float = 0.0
    regularise: Regularised = "all"
    clip_norm: float | None = 5.0
    label_smoothing: float = 0.1
    augmentation: tuple[Augmentation, ...] = (PadCrop(padding=2), Flip())
    balance_classes: bool = False
    ema: float = 0.0
    phases: tuple[Phase, ...] = ()

    def __post_init__(self) -> None:
        self._check(self._called)

    @property
    def _called(self) -> str:
        """What messages call these settings."""
        return "training"

    def _check(self, where: str) -> None:
        check_number(where, "epochs", self.epochs, above=0)
        check_number(where, "batch_size", self.batch_size, least=2, integer=True)
        check_number(where, "learning_rate", self.learning_rate, above=0)
        check_number(where, "trained_share", self.trained_share, above=0, most=1)
        check_number(where, "warmup", self.warmup, least=0, most=1)
        check_number(where, "least_learning_rate", self.least_learning_rate, least=0, most=1)
        check_choice(where, "optimizer", self.optimizer, get_args(Optimizer))
        check_number(where, "momentum", self.momentum, least=0, below=1)
        check_boolean(where, "nesterov", self.nesterov)
        check_number(where, "weight_decay", self.weight_decay, least=0)
        check_number(where, "dropout", self.dropout, least=0, below=1)
        check_choice(where, "regularise", self.regularise, get_args(Regularised))
        check_number(where, "label_smoothing", self.label_smoothing, least=0, below=1)
        check_boolean(where, "balance_classes", self.balance_classes)
        check_number(where, "ema", self.ema, least=0, most=1)
        if self.clip_norm is not None:
            check_number(where, "clip_norm", self.clip_norm, above=0)
        if self.nesterov and not self.momentum:
            raise ValueError(f"{where}: nesterov needs a momentum above 0")
        if not all(isinstance(entry, Augmentation) for entry in self.augmentation):
            raise ValueError(f"{where}: augmentation must be a list of augmentations; read names with from_dict")
        if self.phases and abs((total := sum(phase.share for phase in self.phases)) - 1) > 1e-6:
            raise ValueError(f"{where}: the shares of its phases must sum to 1, they sum to {total:g}")

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        """Make settings from plain values, as read from a YAML file; what is left out has its default.

        Raises
        ------
        ValueError : a field is unknown, or has a value that cannot work.
        """
        where = f"recipe {settings['name']!r}" if "name" in settings else "recipe"
        check_fields(cls, settings, where)
        made = dict(settings)
        if "phases" in settings:
            made["phases"] = tuple(_read_phase(p, n) for n, p in enumerate(_entries(settings, "phases", where), 1))
        if "augmentation" in settings:
            entries = _entries({"augmentation": settings["augmentation"] or ()}, "augmentation", where)
            made["augmentation"] = tuple(read_augmentation(entry, where) for entry in entries)
        return cls(**made)

    def as_dict(self) -> dict[str, Any]:
        """Plain values that `from_dict` takes."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values["phases"] = [asdict(phase) for phase in self.phases]
        values["augmentation"] = [entry.as_dict() for entry in self.augmentation]
        return values


@dataclass(frozen=True, kw_only=True)
class Recipe(TrainingSettings):
    """How to train a supernet; without arguments, the default recipe.

    Attributes
    ----------
    name, paper : what it is, and where it was published (title and URL).
    kernel_transform : learn matrices that turn large depthwise kernels into smaller ones.
    zero_init_residuals : let every residual block of a new supernet start as the identity (11 points on CIFAR-10
        after three epochs: experiments/recipes_cifar10).
    cuda_graphs : ``auto`` runs the subnets of a step as CUDA graphs where one process trains on a GPU, and then draws
        random subnets from a small pool that is renewed (`nas.training.pool`); elsewhere it changes nothing. ``off``
        never does. At batch 128 a step took an H200 .27 of the time, at 512 .82, recording aside
        (experiments/training_speed).
    """

    name: str = "delayed_sandwich"
    paper: str = (
        "DεpS: Delayed ε-Shrinking for Faster Once-For-All Training (ECCV 2024), https://arxiv.org/abs/2407.06167"
    )
    phases: tuple[Phase, ...] = DELAYED_SANDWICH
    kernel_transform: bool = False
    zero_init_residuals: bool = True
    cuda_graphs: CudaGraphs = "off"

    @property
    def _called(self) -> str:
        return f"recipe {self.name!r}"

    def _check(self, where: str) -> None:
        super()._check(where)
        if str(self.cuda_graphs) == "False":  # YAML reads a bare `off` as false
            object.__setattr__(self, "cuda_graphs", "off")
        check_choice(where, "cuda_graphs", self.cuda_graphs, get_args(CudaGraphs))
        check_boolean(where, "kernel_transform", self.kernel_transform)
        check_boolean(where, "zero_init_residuals", self.zero_init_residuals)
        if not self.phases:
            raise ValueError(f"{where} has no phases; give at least one")


@dataclass(frozen=True, kw_only=True)
class Finetuning(TrainingSettings):
    """How to train one network on, from weights that it has.

    Once-for-all (https://arxiv.org/abs/1908.09791) does it for 25 epochs.

    Attributes
    ----------
    epochs : 1 to 25.
    label_weight : of the labels' cross-entropy beside the distance from the teacher, in [0, 1]; 1 is labels alone.
    phases : by default one, in which the network learns from the teacher and from labels by `label_weight`.

    Raises
    ------
    ValueError : a value that cannot work.
    """

    epochs: float = 10
    label_smoothing: float = 0.0
    label_weight: float = 0.5

    @property
    def _called(self) -> str:
        return "fine-tuning"

    def _check(self, where: str) -> None:
        super()._check(where)
        check_number(where, "label_weight", self.label_weight, least=0, most=1)
        if not 1 <= self.epochs <= MOST_EPOCHS:
            raise ValueError(
                f"epochs must be 1 to {MOST_EPOCHS}, got {self.epochs:g}; for more, train the supernet longer"
            )

    def recipe(self, *, taught: bool = True) -> Recipe:
        """The recipe that the trainer follows; `taught` says whether there is a teacher."""
        settings = {f.name: getattr(self, f.name) for f in fields(TrainingSettings)}
        if not self.phases and taught and self.label_weight < 1:
            phase = Phase(
                name="fine-tuning",
                share=1.0,
                target="external",
                label_weight=self.label_weight,
                distillation_weight=1 - self.label_weight,
            )
            settings["phases"] = (phase,)
        elif not self.phases:
            settings["phases"] = (Phase(name="fine-tuning", share=1.0),)
        return Recipe(**settings, name="fine-tuning", paper=OFA_PAPER, zero_init_residuals=False)


def _entries(settings: Mapping[str, Any], name: str, where: str) -> Sequence[Any]:
    """The list of that name.

    Raises
    ------
    ValueError : it is no list.
    """
    entries = settings[name]
    if isinstance(entries, str) or not isinstance(entries, Sequence):
        raise ValueError(f"{where}: {name} must be a list, got {entries!r}")
    return entries


def _read_phase(entry: object, number: int) -> Phase:
    if isinstance(entry, Phase):
        return entry
    if not isinstance(entry, Mapping):
        raise ValueError(f"phase {number}: a phase is a mapping of its settings, got {entry!r}")
    check_fields(Phase, entry, f"phase {entry.get('name', number)!r}")
    return Phase(**entry)
