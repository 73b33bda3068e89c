"""Settings of a run: dataclasses, read from YAML recipes and `--set a.b=c`, strict about names.

Configuration stops here and at the builders: modules take plain keyword arguments.
"""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

import yaml

from mvcn.errors import ConfigError

AttentionKind = Literal["sparsemax", "softmax"]
BadImagePolicy = Literal["error", "blank", "drop"]
CongruityForm = Literal["ratio", "share", "absolute"]
CentroidSource = Literal["queue", "batch"]
Prefill = Literal["none", "self", "auxiliary-run"]


@dataclass
class DataConfig:
    """Which posts to learn from."""

    name: str = "table"
    """A data set that `mvcn.data.DATASETS` knows, or `table` for CSV files."""
    root: Path | None = None
    """Folder of the data set."""
    splits: Path | None = None
    """Folder with `train.txt` and `dev.txt`, one id a line; without it a seeded stratified split."""
    train: Path | None = None
    """CSV of the training posts, for `table`."""
    dev: Path | None = None
    """CSV of the dev posts, for `table`; without it a seeded stratified part of `train`."""
    on_bad_image: BadImagePolicy = "error"
    """A bad image stops the run, counts as no image, or takes its post out; always counted."""


@dataclass
class ModelConfig:
    """The network. Sizes that the paper does not give are ours."""

    text_encoder: str = "minilm-l6"
    """Packaged name, folder, or Hugging Face hub name. Paper: bert-base-uncased."""
    image_encoder: str = "efficientnet-lite0"
    """Packaged name, folder, or Hugging Face hub name. The paper's image input is not known to us."""
    frozen_text_layers: int = 0
    """The lowest layers of the text encoder that are not trained; above 0 freezes the embeddings."""
    freeze_text_embeddings: bool = False
    """Keep the token embeddings as they are."""
    freeze_image_encoder: bool = True
    """Keep the image encoder as it is; its token features are then computed once and cached."""
    hidden_size: int = 384
    """Width d of fusion and fused feature."""
    num_heads: int = 6
    """Attention heads of each text-guided unit."""
    num_fusion_layers: int = 1
    """Stacked text-guided units L. Not given, ours."""
    attention: AttentionKind = "sparsemax"
    """Normalisation of the text-to-image attention; softmax is the ablation."""
    dropout: float = 0.1
    """Dropout of the fusion and the classifier, never on sparse attention weights."""
    max_tokens: int = 64
    """Word pieces kept of a text; no MVSA-Single post has more than this. CLMLF: 200."""


@dataclass
class ObjectiveConfig:
    """The loss: cross-entropy with soft targets, plus the semantic congruity constraint."""

    congruity_weight: float = 0.1
    """Lambda; 0 switches the constraint off. Not given, ours."""
    congruity_form: CongruityForm = "ratio"
    """Relative distance to the own centroid. Our reading of the paper's relative L2 is ratio."""
    centroids: CentroidSource = "queue"
    """Class means over the queue, or over the batch alone (the ablation without AC)."""
    queue_size: int = 3600
    """Posts remembered, N. Paper: 3600."""
    prefill: Prefill = "self"
    """What fills the queue before the constraint starts: nothing, this model, or another run's."""
    prefill_epochs: float = 1.0
    """Epochs of cross-entropy alone before the queue is filled, for `self`."""
    prefill_run: Path | None = None
    """Run folder of the auxiliary model, for `auxiliary-run`."""
    calibration: float = 0.0
    """e_max, the largest share of the target that adaptive loss calibration moves; 0 switches off."""
    calibration_temperature: float = 1.0
    """tau of softmax(-D / tau), used where a post has no unimodal labels."""


@dataclass
class TrainingConfig:
    """Optimisation."""

    seed: int = 0
    """Seed of weights, order and dropout; of the split too where none is given."""
    epochs: int = 4
    """Passes over the training posts at most."""
    batch_size: int = 16
    """Posts per forward pass. Paper: 16."""
    gradient_accumulation: int = 1
    """Forward passes per optimizer step."""
    eval_batch_size: int = 64
    """Posts per forward pass without gradients."""
    encoder_learning_rate: float = 5e-5
    """Peak learning rate of the encoders."""
    fusion_learning_rate: float = 3e-4
    """Peak learning rate of all that is not an encoder."""
    weight_decay: float = 0.01
    """AdamW, not on biases and norms."""
    warmup_fraction: float = 0.1
    """Share of the steps with a rising learning rate, before it falls linearly to zero."""
    max_gradient_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    patience: int = 3
    """Epochs without a better dev weighted F1 before training stops."""


@dataclass
class RunConfig:
    """Everything that decides a run."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """Build from nested mappings.

        Raises:
            ConfigError: A key that does not exist, or a value of the wrong type.
        """
        config = cls()
        config.update(mapping)
        return config

    def update(self, mapping: Mapping[str, Any]) -> None:
        """Overwrite the fields that `mapping` names, section by section.

        Raises:
            ConfigError: A key that does not exist, or a value of the wrong type.
        """
        for section, values in mapping.items():
            _require_known(section, self, prefix="")
            if not isinstance(values, Mapping):
                raise ConfigError(f"Setting '{section}' is a section: give it keys, as in {section}.key.")
            for key, value in values.items():
                _set_field(getattr(self, section), section, str(key), value)

    def set(self, assignments: Iterable[str]) -> None:
        """Apply command-line assignments like ``training.epochs=3`` (values are YAML).

        Raises:
            ConfigError: Not of the form ``section.key=value``, an unknown key, or a wrong type.
        """
        for assignment in assignments:
            path, equals, text = assignment.partition("=")
            section, dot, key = path.strip().partition(".")
            if not (equals and dot):
                raise ConfigError(f"--set '{assignment}' must look like section.key=value.")
            self.update({section: {key: _parse_value(assignment, text)}})

    def to_mapping(self) -> dict[str, dict[str, Any]]:
        """Return nested dictionaries of plain values, as YAML and `from_mapping` take them."""
        return {
            section: {key: _plain(value) for key, value in values.items()}
            for section, values in dataclasses.asdict(self).items()
        }

    def to_yaml(self) -> str:
        """Return the resolved settings as YAML."""
        return yaml.safe_dump(self.to_mapping(), sort_keys=False)


def read_recipe(name: str) -> RunConfig:
    """Read a shipped recipe by name, or a YAML file by path.

    Raises:
        ConfigError: No such recipe, not YAML, or a setting that does not exist.
    """
    shipped = resources.files("mvcn") / "recipes"
    if (shipped / f"{name}.yaml").is_file():
        text, where = (shipped / f"{name}.yaml").read_text("utf-8"), f"Recipe '{name}'"
    elif Path(name).is_file():
        text, where = Path(name).read_text("utf-8"), f"Recipe file {name}"
    else:
        known = ", ".join(sorted(p.name[:-5] for p in shipped.iterdir() if p.name.endswith(".yaml")))
        raise ConfigError(f"There is no recipe '{name}': give a YAML file or one of {known}.")
    return read_config(text, where)


def read_config(text: str, where: str) -> RunConfig:
    """Parse YAML settings; `where` names their source in errors.

    Raises:
        ConfigError: Not YAML, not a mapping, or a setting that does not exist.
    """
    try:
        mapping = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{where} must hold sections like 'training:' with keys below them.")
    return RunConfig.from_mapping(mapping)


def _parse_value(assignment: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"The value in --set '{assignment}' is not YAML.") from error


def _require_known(name: str, config: Any, prefix: str) -> None:
    known = [f.name for f in dataclasses.fields(config)]
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{prefix}{close[0]}'?" if close else f"known are {', '.join(known)}."
        raise ConfigError(f"There is no setting '{prefix}{name}': {hint}")


def _set_field(config: Any, section: str, key: str, value: Any) -> None:
    _require_known(key, config, prefix=f"{section}.")
    expected = typing.get_type_hints(type(config))[key]
    setattr(config, key, _coerce(value, expected, f"{section}.{key}"))


def _coerce(value: Any, expected: Any, name: str) -> Any:
    """Return `value` as the annotated type `expected`, or raise a ConfigError naming the field."""
    if typing.get_origin(expected) is Literal:
        allowed = typing.get_args(expected)
        if value not in allowed:
            raise ConfigError(f"Setting '{name}' is {value!r}, but must be one of {', '.join(allowed)}.")
        return value
    options = typing.get_args(expected) if isinstance(expected, types.UnionType) else (expected,)
    if value is None and type(None) in options:
        return None
    if Path in options and isinstance(value, str | Path):
        return Path(value)
    if float in options and not isinstance(value, bool):
        value = _as_float(value)
    if type(value) not in options:
        raise ConfigError(f"Setting '{name}' is {value!r}, but must be {_name_of(options)}.")
    return value


def _as_float(value: Any) -> Any:
    """YAML 1.1 reads 5e-5 as text; take it as the number that the writer meant."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return value


def _name_of(options: Iterable[Any]) -> str:
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return " or ".join(names.get(option, "a path") for option in options if option is not type(None))


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value
