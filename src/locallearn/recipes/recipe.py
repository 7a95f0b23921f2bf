"""What a complete run is made of: the frozen, checked recipe that `*.toml` files and flags fill in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

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
from locallearn.recipes.distributed_section import DistributedSection
from locallearn.recipes.section import Count, Fraction, NotNegative, Section, Whole, told_by_key
from locallearn.recipes.training_section import TrainingSection

if TYPE_CHECKING:
    from locallearn.abstract_method import Method
    from locallearn.datasets.samples import SampleTransform
    from locallearn.datasets.spec import Augmentation

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
    options: dict[str, bool | int | float | str] = Field(default_factory=dict)
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


class Recipe(Section):
    """A complete run: enough, with the data, to repeat it."""

    title: str = ""
    """What the run is, in one line."""
    source: str = ""
    """Where the settings come from."""
    published: Annotated[tuple[Annotated[Published, told_by_key(Published)], ...], Field(strict=False)] = ()
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
