"""Settings of a run, read from YAML recipes and `--set a.b=c`; unknown names are errors.

A docstring that ends with "Ours." describes an addition to the published method, which the recipe
`paper` switches off; "Ours: VALUE." marks one value of a setting, which that recipe does not use.
"Not given, ours." marks what every run needs and what the authors' article, from which we worked
without the paper, does not give.

Only builders take these classes: modules take plain keyword arguments.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import Field, model_validator

from mvcn.errors import ConfigError
from mvcn.model_config import ModelConfig
from mvcn.settings import (
    Count,
    CountOrZero,
    Dropout,
    FilePath,
    Name,
    Names,
    NonNegative,
    Number,
    Positive,
    Seed,
    Settings,
    Share,
    Texts,
    build_from,
    parse_yaml,
    read_named,
    require_known,
    with_values,
)
from mvcn.types import (
    BadImagePolicy,
    CentroidSource,
    CongruityForm,
    ContrastForm,
    Quoting,
    TargetScore,
)

Prefill = Literal["none", "self", "auxiliary", "auxiliary-run"]
MixedPrecision = Literal["none", "bf16", "fp16"]
Tracker = Literal["none", "tensorboard", "wandb", "mlflow", "trackio"]

Limit = Annotated[int | None, Field(ge=1), "at least 1"]
OwnSeed = Annotated[int | None, Field(ge=0, lt=2**32), "from 0 to 4294967295"]
AUTO_MEMBERS = 5
MOST_POSTS_OF_MEMBERS = 10_000
"""Labelled posts up to which `training.members: auto` trains more than one member."""
Members = Annotated[
    Annotated[int, Field(ge=1)] | Literal["auto"], "a whole number of at least 1, or auto"
]
ClassWeights = Annotated[
    Literal["none", "auto"] | dict[Name, Number], "one of none, auto or names, each with a number"
]

Weights = Annotated[dict[Name, NonNegative], "names, each with a number of at least 0"]


class DataConfig(Settings):
    """The posts to train on."""

    name: str = "table"
    """A name in `mvcn.data.datasets.DATASETS`, or of a plug-in; `table` is your own file."""
    root: FilePath | None = None
    """Folder or file of the posts."""
    splits: FilePath | None = None
    """Folder with `train.txt` and `dev.txt`, one id per line; by default the dataset's
    own splits, else splits drawn by the seed. Or a folder of published folds, with `fold`."""
    fold: Limit = None
    """Number of one of the published folds of MVSA in `splits`, which also gives the labels."""
    train: FilePath | None = None
    """Training posts, in place of a split of `root`."""
    dev: FilePath | None = None
    """Dev posts, which choose the epoch of a single model; by default it takes a tenth of `train`,
    by the seed, and an ensemble takes none."""
    split_seed: OwnSeed = None
    """Seed by which a tenth of the posts becomes dev where no split names dev posts; by default
    that of the training, and only if dev posts are needed."""
    limit: Limit = None
    """Training posts to draw at random, for a learning curve; by default all are used."""
    limit_seed: OwnSeed = None
    """Number of the draw; by default the seed of the training."""
    columns: Texts = Field(default_factory=dict)
    """Our name of a column (text, image, label, id, ...) -> its name in the dataset."""
    images: FilePath | None = None
    """Folder of the images, where it is not the one that the dataset implies."""
    encoding: str | None = None
    """Python codec of text files, such as cp1252; by default the byte-order mark's, else UTF-8."""
    quoting: Quoting = "auto"
    """Of CSV and TSV: `minimal` parses quotes, `none` takes them as characters; `auto` detects one,
    and refuses a file in which a stray quote seems to join rows."""
    sheet: str | None = None
    """Sheet of an Excel workbook; by default the first."""
    normalize_labels: bool = False
    """Merge labels that differ only in case or whitespace into one class, in lower case."""
    text_only: bool = False
    """Ignore images: every post counts as one of text alone."""
    on_bad_image: BadImagePolicy = "error"
    """A bad image stops the run, counts as no image, or removes its post; all are counted."""


class ObjectiveConfig(Settings):
    """The loss: cross-entropy with soft targets, plus the semantic congruity constraint."""

    earlier_names: ClassVar = {"annotation_weight": "unimodal_label_weight"}

    congruity_weight: NonNegative = 0.1
    """Lambda, the weight of the constraint; 0 switches it off. Not given, ours."""
    congruity_form: CongruityForm = "ratio"
    """Distance to the centroid of a post's class. The paper's is a relative L2. Not given, ours."""
    centroids: CentroidSource = "queue"
    """Class means over the queue, or over the batch alone (the ablation without AC)."""
    queue_size: Count = 3600
    """Length N of the queue, in posts. Paper: 3600."""
    prefill: Prefill = "self"
    """What fills the queue before the constraint starts: nothing, this model, an auxiliary module
    that is trained first and then discarded, as in the paper, or another run's model.
    Ours: self."""
    prefill_epochs: NonNegative = 1.0
    """Epochs of cross-entropy alone before the queue is filled, of this model for `self` and of the
    module for `auxiliary`. Not given, ours."""
    prefill_run: FilePath | None = None
    """Run folder of the auxiliary model, for `auxiliary-run`."""
    class_weights: ClassWeights = "none"
    """Weight of each class in the cross-entropy; auto weights rare classes more, mean 1. Ours."""
    unimodal_label_weight: NonNegative = 0.0
    """Weight of an auxiliary head on the labels of text and image, for posts with both. Ours."""
    distillation_weight: Share = 0.0
    """Share of a linear teacher's out-of-fold probabilities in each target. Ours."""
    label_contrast_weight: NonNegative = 0.0
    """Weight of the contrastive loss between posts of different labels, for CLMLF."""
    data_contrast_weight: NonNegative = 0.0
    """Weight of the contrastive loss between two views of each post, for CLMLF."""
    contrast_temperature: Positive = 0.07
    """tau of both contrastive losses."""
    contrast_form: ContrastForm = "corrected"
    """Contrastive losses as usually defined, or (faithful) as in the code of CLMLF's authors."""
    penalty_weight: NonNegative = 0.0
    """Weight of a network's penalty on its own weights, for D&R Net and MMSD."""
    losses: Weights = Field(default_factory=dict)
    """Further terms: name of a plug-in's loss -> its weight; 0 removes it."""
    calibration: Share = 0.0
    """e_max, the largest share of the target that adaptive loss calibration moves; 0 is off.
    Not given, ours."""
    calibration_temperature: Positive = 1.0
    """tau of softmax(-D / tau), used where a post has no unimodal labels.
    Not given, ours."""

    @model_validator(mode="after")
    def _check_prefill_epochs(self) -> "ObjectiveConfig":
        epochs = self.prefill_epochs
        if self.prefill == "auxiliary" and (epochs < 1 or not epochs.is_integer()):
            raise ConfigError(
                f"Setting 'objective.prefill_epochs' is {epochs:g}, but prefill 'auxiliary' trains "
                "a module for whole epochs: set it to 1 or more."
            )
        return self


class TrainingConfig(Settings):
    """Optimisation."""

    seed: Seed = 0
    """Seed of weights, order of posts and dropout, and of the split where none is given."""
    epochs: Count = 4
    """Maximum number of passes over the training posts. Not given, ours."""
    min_steps: CountOrZero = 0
    """Fewest optimizer steps: with few posts, there are more epochs than `epochs`. Ours."""
    members: Members = 1
    """Models that are trained, each without one fold of the posts, and averaged; `auto` is 5 for up
    to 10,000 posts, else 1. With more than one, no dev post chooses anything. Ours."""
    batch_size: Count = 16
    """Posts per forward pass over all devices: results do not depend on their number. Paper: 16."""
    balanced_sampling: bool = False
    """Draw each class equally often in every epoch, repeating posts of rare classes. Ours."""
    gradient_accumulation: Count = 1
    """Forward passes per optimizer step."""
    eval_batch_size: Count = 64
    """Posts per forward pass without gradients, on each device."""
    encoder_learning_rate: Positive = 5e-5
    """Peak learning rate of the encoders. Not given, ours."""
    fusion_learning_rate: Positive = 3e-4
    """Peak learning rate of everything else. Not given, ours."""
    weight_decay: NonNegative = 0.01
    """Of AdamW, not on biases and norms. Not given, ours."""
    warmup_fraction: Share = 0.1
    """Share of the steps in which the learning rate rises, before it decays linearly to zero.
    Not given, ours."""
    weight_average_decay: Dropout = 0.0
    """Decay of an average of the weights, which is evaluated and saved in their place. Ours."""
    max_gradient_norm: Positive = 1.0
    """Gradients are clipped to this norm. Not given, ours."""
    patience: Count = 3
    """Epochs without a better dev weighted F1 before training stops. Not given, ours."""
    target: TargetScore = "accuracy"
    """Score for which classes are predicted: macro-f1 predicts rare ones more often, by offsets of
    the logits that are chosen on held-out posts after the training. Ours: macro-f1."""
    mixed_precision: MixedPrecision = "none"
    """Compute the network in half precision; sparsemax, losses, queue and weights stay float32."""
    compile: bool = False
    """Compile the network by `torch.compile`, which takes a minute or more, to train faster."""
    gradient_checkpointing: bool = False
    """Keep only the inputs of the encoders' layers for the backward pass, which computes the layers
    again: less memory for more time."""
    report_to: Tracker = "none"
    """Send losses and scores to a tracker, as they come in; the files of TensorBoard are in the
    run folder."""
    plugins: Names = Field(default_factory=list)
    """Modules with models, losses or datasets of your own, which are imported when a training
    starts, and never from a finished run; installed plug-ins need not be named."""
    export: bool = True
    """Write the model as ONNX graphs at the end, so that prediction needs no PyTorch."""

    def num_members(self, num_posts: int) -> int:
        """Return the number of models to train on `num_posts` labelled posts."""
        if self.members == "auto":
            return AUTO_MEMBERS if num_posts <= MOST_POSTS_OF_MEMBERS else 1
        return self.members

    def num_epochs(self, num_posts: int) -> int:
        """Return `epochs`, or more where `num_posts` are too few for `min_steps`."""
        return max(self.epochs, math.ceil(self.min_steps / max(1, self.steps_per_epoch(num_posts))))

    def num_steps(self, num_posts: int) -> int:
        """Return the number of optimizer steps of a training on `num_posts`."""
        return self.num_epochs(num_posts) * self.steps_per_epoch(num_posts)

    def steps_per_epoch(self, num_posts: int) -> int:
        """Return the number of optimizer steps for each post once."""
        return math.ceil(num_posts / (self.batch_size * self.gradient_accumulation))


class RunConfig(Settings):
    """All settings of a run."""

    data: DataConfig = Field(default_factory=DataConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    objective: ObjectiveConfig = Field(default_factory=ObjectiveConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)

    @classmethod
    def from_mapping(cls, mapping: Mapping[Any, Any]) -> "RunConfig":
        """Build from nested mappings.

        Raises:
            ConfigError: A key that does not exist, or a value of the wrong type or range.
        """
        config = cls()
        config.update(mapping)
        return config

    def update(self, mapping: Mapping[Any, Any]) -> None:
        """Overwrite the fields that `mapping` names, section by section, and check all of them.

        Attributes that were assigned are not checked before.

        Raises:
            ConfigError: A key that does not exist, or a value of the wrong type or range.
        """
        changes = {str(section): values for section, values in mapping.items()}
        for name, values in changes.items():
            require_known(name, type(self), prefix="")
            if not isinstance(values, Mapping):
                raise ConfigError(
                    f"'{name}' is a section: write its settings below it, as in {name}.key."
                )
        checked = {
            name: with_values(section, changes.get(name, {}), name) for name, section in self
        }
        for name, section in checked.items():
            setattr(self, name, section)

    def set(self, assignments: Iterable[str]) -> None:
        """Apply command-line assignments like ``training.epochs=3``, whose values are YAML.

        Raises:
            ConfigError: Not of the form ``section.key=value``, an unknown key, or a wrong value.
        """
        mapping: dict[str, Any] = {}
        for assignment in assignments:
            path, equals, text = assignment.partition("=")
            section, dot, key = path.strip().partition(".")
            if not (equals and dot):
                raise ConfigError(
                    f"--set '{assignment}' is not valid: write it like --set training.epochs=5."
                )
            value = parse_yaml(text, f"The value in --set '{assignment}'")
            place, (group, _, name) = mapping.setdefault(section, {}), key.partition(".")
            has_own = isinstance(getattr(getattr(self, section, None), group, None), Settings)
            inside = place.setdefault(group, {}) if has_own and name else None
            if isinstance(inside, dict):
                place, key = inside, name
            place[key] = value
        self.update(mapping)

    def to_mapping(self) -> dict[str, dict[str, Any]]:
        """Return nested dictionaries of plain values, as YAML and `from_mapping` take them."""
        return self.model_dump(warnings=False)

    def to_yaml(self) -> str:
        """Return the resolved settings as YAML."""
        return yaml.safe_dump(self.to_mapping(), sort_keys=False)


def read_recipe(name: str) -> RunConfig:
    """Read a shipped recipe by name, or a YAML file by path.

    Raises:
        ConfigError: No such recipe, not YAML, or a setting that does not exist.
    """
    return read_named("Recipe", "recipes", name, _build)


def read_config(text: str, where: str) -> RunConfig:
    """Parse YAML settings; `where` names their source in errors.

    Raises:
        ConfigError: Not YAML, not a mapping, or a setting that does not exist.
    """
    return build_from(text, where, _build)


def _build(content: Any) -> RunConfig:
    if not isinstance(content, Mapping | None):
        raise ConfigError(
            "it must consist of sections such as 'training:', each with its settings below it."
        )
    return RunConfig.from_mapping(content or {})
