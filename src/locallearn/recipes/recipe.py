"""What a complete run is made of: the frozen, checked recipe that `*.toml` files and flags fill in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from locallearn.datasets.spec import varied
from locallearn.errors import listed
from locallearn.execution import Execution
from locallearn.recipes.choices import (
    CONFIG,
    checked_augmentation,
    checked_dataset,
    checked_device,
    checked_method,
    checked_network,
    useless_heads,
)

if TYPE_CHECKING:
    from locallearn.abstract_method import Method
    from locallearn.datasets.samples import SampleTransform
    from locallearn.datasets.spec import Augmentation

Fraction = Annotated[float, Field(ge=0, lt=1)]
Whole = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Preset = Literal[
    "auglocal",
    "infopro",
    "infopro_balanced",
    "infopro_balanced_stl10",
    "man",
    "man_plus_plus",
    "memory_balanced",
    "mlaan",
]


class Section(BaseModel):
    """One table of a recipe: unknown keys, wrong types, NaN and infinities are refused."""

    model_config = CONFIG


class AugmentationSection(BaseModel):
    """Changes to the data set's published augmentation, in that augmentation's own fields; the rest is as published."""

    model_config = CONFIG | ConfigDict(extra="allow")

    @property
    def options(self) -> dict[str, Any]:
        """The changed fields by name."""
        return dict(self.model_extra or {})

    def over(self, published: Augmentation | SampleTransform) -> Augmentation | SampleTransform:
        """The published augmentation with this section's changes.

        Args:
            published: The data set's own, from its spec.

        Returns:
            The augmentation to train with.
        """
        return varied(published, self.options)


class DatasetSection(Section):
    """Which images, and what is held out of them."""

    name: str
    """A data set of `locallearn ls datasets`."""
    download: bool = False
    """Fetch the official files when they are missing."""
    validation: Fraction = 0.0
    """Share of the training images held out for validation; 0 holds out none."""
    num_classes: Whole | None = None
    """Number of outputs, if not the data set's own number of classes (STL-10's released code has 100)."""
    workers: Count = 0
    """Processes that decode images which are read one by one; 0 decodes between the steps."""
    augmentation: AugmentationSection = AugmentationSection()
    """Changes to the published augmentation."""

    _known = field_validator("name")(checked_dataset)

    @field_validator("augmentation", mode="before")
    @classmethod
    def _fits_the_set(cls, given: Any, info: ValidationInfo) -> Any:
        known = isinstance(given, dict) and "name" in info.data
        return checked_augmentation(info.data["name"], given) if known else given


class NetworkSection(Section):
    """Which network is built, with its own initial weights."""

    name: str
    """`resnet32`, `torchvision:resnet18`, `timm:NAME` or your own `package.module:function`."""
    options: dict[str, bool | int | float | str] = {}
    """Keyword arguments of the network's function."""

    _known = field_validator("name")(checked_network)


class PartitionSection(Section):
    """Where the network is cut into blocks: `num_blocks` or `split_points` says so."""

    num_blocks: Whole | None = None
    """Number of blocks."""
    balance: Literal["depth", "memory", "flops"] = "depth"
    """What the blocks share evenly."""
    split_points: Annotated[tuple[str, ...] | None, Field(strict=False)] = None
    """Instead of `num_blocks`: names of modules; a block ends after each."""
    preset: Preset | None = None
    """A published table of cuts for this network and number of blocks, instead of balancing."""

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if self.num_blocks is None and self.split_points is None:
            raise ValueError("Give num_blocks, or split_points to name the modules after which blocks end.")
        if self.split_points is not None and (self.num_blocks is not None or self.preset is not None):
            raise ValueError(
                "split_points already says where to cut: leave num_blocks and preset out "
                "(as flags: --num-blocks None --partition.preset None)."
            )
        return self


class MethodSection(BaseModel):
    """A method's name and, beside it, that method's own fields, checked and completed with its defaults."""

    model_config = CONFIG | ConfigDict(extra="allow")

    name: str
    """A method of `locallearn ls methods`, or your own `package.module:Class`."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        return checked_method(given) if isinstance(given, dict) else given

    @property
    def options(self) -> dict[str, Any]:
        """The method's own fields by name, defaults included."""
        return dict(self.model_extra or {})

    def build(self) -> Method:
        """The method itself.

        Returns:
            The frozen dataclass that `name` stands for, holding these fields.
        """
        from locallearn.methods import method

        return method(self.name, **self.options)


class ExecutionSection(Section):
    """How steps are carried out, see `locallearn.Execution`; what is learned stays the same, up to rounding."""

    recompute: Literal["nothing", "branches", "blocks"] = "nothing"
    """What keeps only its input and runs again in the backward pass: copies in heads; these and all blocks."""
    lean: Literal["off", "in_place", "recompute"] = "off"
    """Backward passes of BatchNorm and ReLU that overwrite; with `recompute`, activations are computed again."""
    compile: bool = False
    """Compile what several blocks have in common, and the heads."""
    group_heads: bool = False
    """Run equal heads together, which keeps the blocks they read alive."""
    count_batches: Literal["each", "together"] = "each"
    """Whether each BatchNorm counts its batches by an operation of its own, or all by one at the end of a step."""

    def build(self) -> Execution:
        """What `LocalModel` takes.

        Returns:
            The same fields.
        """
        return Execution(**self.model_dump())


class ScheduleSection(Section):
    """How the learning rate moves; epochs count e = 1..E and the rate is constant within one, except for `poly`.

    Formulas:
        warmup_cosine: c(e) = lr/2 (1 + cos(pi e/E)); for e <= W: c(e)(e-1)/W + start (W+1-e)/W, with W warm-up epochs.
        cosine: lr/2 (1 + cos(pi (e-1)/E)). step: lr gamma^(number of milestones <= e).
        poly, per step t of T: (lr - 1e-4)(1 - t/T)^power + 1e-4. constant: lr.
    """

    name: Literal["warmup_cosine", "cosine", "step", "poly", "constant"] = "warmup_cosine"
    """The rule; `warmup_cosine` is the released code's and reaches 0 in the last epoch after the warm-up."""
    warmup_epochs: Count = 10
    """Epochs of `warmup_cosine` that blend in from `warmup_start`."""
    warmup_start: NotNegative = 0.01
    """The first epoch's rate under `warmup_cosine`; it does not scale with lr."""
    milestones: Annotated[tuple[Whole, ...], Field(strict=False)] = ()
    """Epochs from which on `step` multiplies the rate by gamma."""
    gamma: Positive = 0.1
    """Factor of `step`."""
    power: Positive = 0.9
    """Exponent of `poly`."""

    @model_validator(mode="after")
    def _milestones(self) -> Self:
        if self.name == "step" and not self.milestones:
            raise ValueError('name = "step" needs milestones, such as milestones = [80, 120].')
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones {list(self.milestones)} must rise.")
        return self


class TrainingSection(Section):
    """Optimizer, learning rates, length of the run and what is kept of it."""

    epochs: Whole
    """Passes over the training images."""
    max_steps: Whole | None = None
    """Optimizer steps after which the run ends, should its epochs have more; `poly` ends there, too."""
    batch_size: Whole = 128
    """Images per batch; the last batch of an epoch may be smaller."""
    drop_last: bool = False
    """Leave out an epoch's last batch where it is smaller than the others."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """The one optimizer of network and auxiliary networks."""
    lr: Positive
    """Learning rate of the blocks before the schedule."""
    momentum: Fraction = 0.9
    """Momentum of `sgd`."""
    nesterov: bool = True
    """Nesterov's form of momentum (`sgd`)."""
    weight_decay: NotNegative = 1e-4
    """Weight decay of every parameter."""
    betas: Annotated[tuple[Fraction, Fraction], Field(strict=False)] = (0.9, 0.999)
    """Decay rates of `adamw`."""
    auxiliary_lr: Positive | None = None
    """Learning rate of auxiliary networks; none means lr."""
    cascade_lr: Positive | None = None
    """Learning rate of cascade windows' auxiliary networks; none means lr."""
    schedule: ScheduleSection = ScheduleSection()
    """How the learning rates move."""
    accumulate: Whole = 1
    """Batches whose gradients are averaged into one step."""
    clip_norm: Positive | None = None
    """Largest norm of all gradients together; it couples the blocks."""
    clip_value: Positive | None = None
    """Largest absolute value of a gradient."""
    step_in_backward: bool = False
    """Step block by block within the backward pass, so that gradients of one block are alive at a time."""
    offload: bool = False
    """Keep parameters and optimizer state of idle blocks in the host's memory; needs `step_in_backward`."""
    capture: bool = False
    """Replay whole steps as a CUDA graph; batches must keep their size, except the last of an epoch."""
    checkpoint_every_steps: Whole | None = None
    """Steps between checkpoints within an epoch; none saves at the end of each epoch only."""
    keep_checkpoints: Whole = 2
    """Newest checkpoints that stay on disk."""
    evaluate_every: Whole = 1
    """Epochs between evaluations; the last epoch is always evaluated."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        problems = []
        if self.optimizer == "sgd" and self.nesterov and self.momentum == 0:
            problems.append("nesterov needs momentum above 0: set nesterov = false.")
        if self.schedule.name == "warmup_cosine" and self.epochs == 1 and self.schedule.warmup_epochs == 0:
            problems.append(
                "warmup_cosine is 0 in the last epoch, so a run of one epoch would not learn: "
                'set schedule.name = "cosine"'
            )
        if self.clip_norm is not None and self.clip_value is not None:
            problems.append("clip_norm and clip_value exclude each other: keep one.")
        if self.step_in_backward and self.accumulate > 1:
            problems.append("step_in_backward steps after every batch: set accumulate = 1 or step_in_backward = false.")
        if self.step_in_backward and self.clip_norm is not None:
            problems.append(
                "clip_norm needs all gradients at once, which step_in_backward never has: use clip_value instead, or "
                "set step_in_backward = false."
            )
        if self.offload and not self.step_in_backward:
            problems.append("offload sends blocks away once they are stepped: set step_in_backward = true with it.")
        if self.capture and (self.offload or self.accumulate > 1 or self.clip_norm is not None):
            problems.append("capture replays a step of one batch: leave offload, accumulate and clip_norm out.")
        if self.capture and self.clip_value is not None and not self.step_in_backward:
            problems.append("capture clips by value only with step_in_backward = true.")
        if problems:
            raise ValueError(listed(problems))
        return self


class DistributedSection(Section):
    """How several processes work together, where torchrun starts them; one process alone does not care."""

    gather: bool = False
    """Compare the samples of all processes where a loss compares samples, as one process would."""
    sync_batch_norm: bool = False
    """Normalise by the statistics of all processes' samples (accelerators)."""
    crossing: Literal["refuse", "send_back"] = "refuse"
    """What to do about windows with blocks in several processes: refuse them, or send their gradients back."""
    exchange_every: Whole = 1
    """Steps after which copies are told of followed parameters that another process trains; 1 is exact."""
    queue: Whole = 2
    """Batches under way between two processes with neighbouring blocks."""
    transfer: Literal["own", "bf16"] = "own"
    """Type in which activations travel; bf16 halves the traffic of fp32 and rounds."""
    timeout: Positive = 600.0
    """Seconds that a process waits for another."""


class Published(Section):
    """One number that a paper prints for the run."""

    name: str
    """What was measured, such as `test_error`."""
    value: float
    """The number."""
    deviation: NotNegative | None = None
    """Its deviation over the runs, where printed."""
    unit: str = "%"
    """What it is counted in."""
    runs: Whole | None = None
    """Runs that it averages, where stated."""
    paper: str = ""
    """Which of the papers of `source`."""
    where: str = ""
    """Its place in the paper: table, or words of the text."""

    def __str__(self) -> str:
        deviation = "" if self.deviation is None else f" +- {self.deviation:.2f}"
        runs = "" if self.runs is None else f", mean of {self.runs} runs"
        place = ", ".join(part for part in (self.paper, self.where) if part)
        return f"{self.name} = {self.value:.2f}{deviation} {self.unit}{runs}{f' ({place})' if place else ''}"


def _told_by_key(given: Any, check: ValidatorFunctionWrapHandler) -> Published:
    try:
        return check(given)
    except ValidationError as error:
        context = {"inner": error, "model": Published, "message": str(error)}
        raise PydanticCustomError("inner", "{message}", context) from error


class Recipe(Section):
    """A complete run: enough, with the data, to repeat it."""

    title: str = ""
    """What the run is, in one line."""
    source: str = ""
    """Where the settings come from."""
    published: Annotated[tuple[Annotated[Published, WrapValidator(_told_by_key)], ...], Field(strict=False)] = ()
    """What papers print for the run; a number twice where they contradict each other."""
    guessed: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Settings the source leaves open, with the value chosen here and why."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the initial weights, the order of the images and their augmentation."""
    seeds: Whole = 1
    """Runs to make, with seed, seed + 1, ..."""
    device: str = "auto"
    """`auto` takes an accelerator if there is one, else the processor; or `cpu`, `cuda`, `cuda:1`, `mps`."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the forward passes; weights stay fp32."""
    channels_last: bool = False
    """Store activations with the channels last."""
    deterministic: bool = False
    """Refuse operations whose result differs from run to run."""
    data: Annotated[Path | None, Field(strict=False)] = None
    """Where the images are; none looks in `data/<name>` of the working directory."""
    dataset: DatasetSection
    """Which images."""
    network: NetworkSection
    """Which network."""
    partition: PartitionSection
    """Where the network is cut."""
    method: MethodSection
    """How the blocks learn."""
    execution: ExecutionSection = ExecutionSection()
    """How steps are carried out."""
    training: TrainingSection
    """How long and how fast."""
    distributed: DistributedSection = DistributedSection()
    """How several processes work together."""

    _device = field_validator("device")(checked_device)

    @model_validator(mode="after")
    def _step_agrees(self) -> Self:
        problems = []
        if self.precision == "fp16" and self.training.step_in_backward:
            problems.append(
                "fp16 looks for overflow before it steps, when the backward pass is done: use precision bf16 or fp32, "
                "or set training.step_in_backward = false."
            )
        if self.training.capture and (self.precision == "fp16" or self.device in ("cpu", "mps")):
            problems.append(
                'training.capture needs CUDA, and precision "bf16" or "fp32": fp16 reads overflow on the host in every '
                "step. Set training.capture = false."
            )
        if self.training.offload and self.device == "cpu":
            problems.append(
                'training.offload frees memory of an accelerator, and device = "cpu" has none: leave it off, or set '
                'device = "auto".'
            )
        problems += useless_heads(self.dataset.name, self.method.name, self.method.options)
        if problems:
            raise ValueError(listed(problems))
        return self
