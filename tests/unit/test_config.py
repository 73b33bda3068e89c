"""Settings: what reading them accepts, keeps and refuses."""

import re
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mvcn.config import RunConfig, TrainingConfig, read_config, read_recipe
from mvcn.errors import ConfigError
from mvcn.training.checks import SPECIAL_WEIGHTS

SECTIONS = {name: field.annotation for name, field in RunConfig.model_fields.items()}


def changed(section, **values):
    return RunConfig.from_mapping({section: values})


def test_empty_text_gives_the_defaults():
    assert read_config("", "here") == read_config("# nothing", "here") == RunConfig()


def test_names_only_what_it_changes():
    config = read_config("training: {epochs: 7}", "here")
    assert config.training == RunConfig().training.model_copy(update={"epochs": 7})
    assert config.model == RunConfig().model


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trainig: {epochs: 3}", "no setting 'trainig': did you mean 'training'"),
        ("training: {epoch: 3}", "no setting 'training.epoch': did you mean 'training.epochs'"),
        ("training: {zzz: 3}", "no setting 'training.zzz': choose from seed, epochs,"),
        ("training: {1: 3}", "no setting 'training.1'"),
        ("1: {epochs: 3}", "no setting '1'"),
        ("training: 3", "'training' is a section"),
        ("training:", "'training' is a section"),
    ],
)
def test_an_unknown_key_gets_a_suggestion(text, message):
    with pytest.raises(ConfigError, match=f"^Recipe 'x': .*{message}"):
        read_config(text, "Recipe 'x'")


@pytest.mark.parametrize("text", ["[]", "false", "0", "''", "epochs", "- training"])
def test_anything_but_sections_is_refused(text):
    with pytest.raises(ConfigError, match="here: it must consist of sections"):
        read_config(text, "here")


@pytest.mark.parametrize(
    "text",
    ["a: [", "\0", "2024-13-45", "!!int ''", "!!bool x", "!!timestamp x", "=", "[" * 5000, "0b_"],
)
def test_what_yaml_cannot_read_is_refused(text):
    with pytest.raises(ConfigError, match="here cannot be read as YAML"):
        read_config(text, "here")


@pytest.mark.parametrize(
    "text",
    ["training: {epochs: 1, epochs: 2}", "training: {epochs: 1}\nmodel: {}\ntraining: {seed: 2}"],
)
def test_a_key_given_twice_is_refused(text):
    with pytest.raises(ConfigError, match=r"is there twice.*line"):
        read_config(text, "here")


def test_aliases_may_repeat_a_value():
    config = read_config("training: {batch_size: &n 8, eval_batch_size: *n}", "here")
    assert (config.training.batch_size, config.training.eval_batch_size) == (8, 8)


@pytest.mark.parametrize(
    ("section", "key", "value", "expected"),
    [
        ("training", "epochs", 2.0, "a whole number"),
        ("training", "epochs", "2", "a whole number"),
        ("training", "epochs", True, "a whole number"),
        ("training", "epochs", None, "a whole number"),
        ("training", "weight_decay", "small", "a number"),
        ("training", "weight_decay", False, "a number"),
        ("training", "weight_decay", [0.1], "a number"),
        ("training", "weight_decay", 10**400, "a number"),
        ("model", "freeze_image_encoder", 1, "true or false"),
        ("model", "freeze_image_encoder", "yes", "true or false"),
        ("data", "name", 3, "text"),
        ("data", "root", 3, "a path"),
        ("data", "root", "", "a path"),
        ("model", "attention", "sparse", "one of sparsemax, softmax"),
        ("model", "attention", None, "one of sparsemax, softmax"),
        ("model", "attention", [], "one of sparsemax, softmax"),
    ],
)
def test_a_wrong_type_is_refused_with_the_right_one(section, key, value, expected):
    with pytest.raises(ConfigError, match=f"^Setting '{section}.{key}' is .* must be {expected}"):
        changed(section, **{key: value})


@pytest.mark.parametrize(
    ("section", "key", "values", "words"),
    [
        ("model", "frozen_text_layers", [-1, "some"], "a whole number of at least 0, or all"),
        ("model", "hidden_size", [0, -6], "at least 1"),
        ("model", "feedforward_size", [0], "at least 1"),
        ("model", "num_heads", [0], "at least 1"),
        ("model", "num_fusion_layers", [0], "at least 1"),
        ("model", "dropout", [-0.1, 1.0, "nan"], "at least 0 and below 1"),
        ("model", "max_tokens", [2, 64.5, "most"], "a whole number of at least 3, or auto"),
        ("objective", "congruity_weight", [-0.1, "nan", "inf"], "finite and at least 0"),
        ("objective", "queue_size", [0], "at least 1"),
        ("objective", "prefill_epochs", [-1, "inf"], "finite and at least 0"),
        ("objective", "calibration", [-0.1, 1.1, "nan"], "from 0 to 1"),
        ("objective", "calibration_temperature", [0, "inf"], "finite and above 0"),
        ("training", "seed", [-1, 2**32], "from 0 to 4294967295"),
        ("training", "epochs", [0], "at least 1"),
        ("training", "batch_size", [0], "at least 1"),
        ("training", "gradient_accumulation", [0], "at least 1"),
        ("training", "eval_batch_size", [0], "at least 1"),
        ("training", "encoder_learning_rate", [0, -1, "nan", "1e999"], "finite and above 0"),
        ("training", "fusion_learning_rate", [0, -1, "nan", "inf"], "finite and above 0"),
        ("training", "weight_decay", [-0.1, "-inf"], "finite and at least 0"),
        ("training", "warmup_fraction", [-0.1, 1.1, "nan"], "from 0 to 1"),
        ("training", "max_gradient_norm", [0, "nan"], "finite and above 0"),
        ("training", "patience", [0], "at least 1"),
        ("model", "text_layers", [-1], "at least 0"),
    ],
)
def test_a_number_out_of_range_is_refused_with_the_range(section, key, values, words):
    for value in values:
        with pytest.raises(ConfigError, match=f"^Setting '{section}.{key}' is .* be {words}"):
            changed(section, **{key: value})


def test_every_number_has_a_range():
    for section, build in SECTIONS.items():
        for key, field in build.model_fields.items():
            if field.annotation in (int, float, int | None):
                assert any(isinstance(one, str) for one in field.metadata), (section, key)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("model", "dropout", 0.0),
        ("objective", "congruity_weight", 0.0),
        ("objective", "calibration", 1.0),
        ("training", "warmup_fraction", 0.0),
        ("training", "warmup_fraction", 1.0),
        ("training", "seed", 2**32 - 1),
        ("model", "frozen_text_layers", 0),
        ("model", "frozen_text_layers", "all"),
        ("model", "max_tokens", 3),
        ("model", "max_tokens", "auto"),
    ],
)
def test_the_ends_of_a_range_are_allowed(section, key, value):
    assert getattr(getattr(changed(section, **{key: value}), section), key) == value


def test_hidden_size_must_be_a_multiple_of_the_heads():
    message = r"'model.hidden_size' is 64, .* multiple of model.num_heads, which is 6"
    with pytest.raises(ConfigError, match=message):
        changed("model", hidden_size=64)
    assert changed("model", hidden_size=64, num_heads=4).model.num_heads == 4


def test_assigned_attributes_are_checked_on_request():
    config = RunConfig()
    config.training.epochs = 0
    with pytest.raises(ConfigError, match=r"training\.epochs"):
        config.update({})


@pytest.mark.parametrize("text", ["5e-5", "5.0e-5", "0.00005", "'5e-5'"])
def test_a_float_may_be_written_as_people_write_it(text):
    config = read_config(f"training: {{encoder_learning_rate: {text}}}", "here")
    assert config.training.encoder_learning_rate == 5e-5


def test_a_whole_number_is_taken_for_a_float():
    weight = changed("objective", congruity_weight=1).objective.congruity_weight
    assert (weight, type(weight)) == (1.0, float)


@pytest.mark.parametrize("text", ["null", "~", ""])
def test_a_path_may_be_none(text):
    assert read_config(f"data: {{root: {text}}}", "here").data.root is None


@pytest.mark.parametrize("value", ["a/b", Path("a/b")])
def test_a_path_is_a_path(value):
    assert changed("data", root=value).data.root == Path("a/b")


def test_literal_values_are_kept():
    assert changed("objective", prefill="auxiliary-run").objective.prefill == "auxiliary-run"


def test_set_applies_yaml_values():
    config = RunConfig()
    config.set(["training.epochs=3", "data.root = x=y", "objective.prefill_run=null"])
    config.set(["model.attention=softmax", "model.freeze_text_embeddings=true"])
    assert (config.training.epochs, config.data.root) == (3, Path("x=y"))
    assert config.objective.prefill_run is None
    assert (config.model.attention, config.model.freeze_text_embeddings) == ("softmax", True)


@pytest.mark.parametrize(
    ("section", "earlier", "name", "value"),
    [
        ("model", "mark_blanks", "mark_whitespace", True),
        ("model", "image_describer", "attribute_model", "captioner"),
        ("objective", "annotation_weight", "unimodal_label_weight", 0.5),
    ],
)
def test_a_setting_is_known_by_its_name_of_an_earlier_version(section, earlier, name, value):
    expected = changed(section, **{name: value})
    assert changed(section, **{earlier: value}) == expected != RunConfig()
    config = RunConfig()
    config.set([f"{section}.{earlier}={value}"])
    assert config == expected
    with pytest.raises(ConfigError, match=rf"'{section}\.{name}' is set twice, .*: leave one"):
        changed(section, **{earlier: value, name: value})


@pytest.mark.parametrize("others", [[], ["model.text_adapter.rank=4"]])
def test_settings_inside_others_are_named_where_a_value_is_given_for_all(others):
    match = r"'model.text_adapter' has settings of its own: set model.text_adapter.rank or"
    with pytest.raises(ConfigError, match=match):
        RunConfig().set(["model.text_adapter=8", *others])


@pytest.mark.parametrize("setting", ["alpha=32", "dropout=0.1"])
@pytest.mark.parametrize("kind", ["text", "image"])
def test_settings_of_adapters_are_refused_where_there_are_none(kind, setting):
    match = rf"'model.{kind}_adapter.rank' is 0, so there are no adapters .*: set it to 1"
    with pytest.raises(ConfigError, match=match):
        RunConfig().set([f"model.{kind}_adapter.{setting}"])


@pytest.mark.parametrize(("network", "fusion"), [("tgf", "text-guided"), ("mfs", "equal")])
def test_a_network_that_was_one_of_its_own_is_a_form_of_mvcn(network, fusion):
    model = changed("model", network=network, fusion="text-guided").model
    assert (model.network, model.fusion) == ("mvcn", fusion)


def test_set_takes_the_last_of_equal_keys():
    config = RunConfig()
    config.set(["training.epochs=3", "training.epochs=5"])
    assert config.training.epochs == 5


def test_set_checks_its_assignments_together():
    config = RunConfig()
    config.set(["model.hidden_size=64", "model.num_heads=4"])
    assert config.model.hidden_size == 64


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("training.epochs", "is not valid: write it like --set training.epochs=5"),
        ("epochs=3", "is not valid: write it like --set training.epochs=5"),
        ("training.epochs=[", "value in --set 'training.epochs=\\[' cannot be read as YAML"),
        ("training.epoch=3", "did you mean 'training.epochs'"),
        ("train.epochs=3", "no setting 'train'"),
        ("training.epochs=", "is None, but must be a whole number"),
        ("training.epochs.x=3", "no setting 'training.epochs.x'"),
        ("training.epochs=0", "must be at least 1"),
    ],
)
def test_set_refuses_what_it_cannot_apply(assignment, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig().set([assignment])


@st.composite
def run_configs(draw):
    config = RunConfig()
    paths = st.none() | st.text(st.characters(codec="utf-8"), min_size=1).map(Path)
    config.data.name = draw(st.text())
    config.data.root, config.objective.prefill_run = draw(paths), draw(paths)
    config.training.encoder_learning_rate = draw(st.floats(1e-300, 1e300))
    config.training.seed = draw(st.integers(0, 2**32 - 1))
    config.model.dropout = draw(st.floats(0, 1, exclude_max=True))
    config.model.freeze_image_encoder = draw(st.booleans())
    config.model.attention = draw(st.sampled_from(["sparsemax", "softmax"]))
    config.model.num_heads = draw(st.integers(1, 16))
    config.model.hidden_size = config.model.num_heads * draw(st.integers(1, 256))
    return config


@settings(max_examples=50)
@given(run_configs())
def test_yaml_gives_back_the_settings(config):
    assert read_config(config.to_yaml(), "here") == config
    assert RunConfig.from_mapping(config.to_mapping()) == config


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
KEYS = [f"{s}: {{{name}: " for s, build in SECTIONS.items() for name in build.model_fields]


@given(st.text() | st.text("{}[]:,&*!<>=-'\"#%|? \n\t01eE._xtraining", max_size=60))
@example("? [a]\n: b")
@example("&a {data: *a}")
@example("data: {<<: [1]}")
@example("!!map [a, b]")
@example("0x" + "f" * 9000 + ": {}")
@example("training: {epochs: 0x" + "f" * 9000 + "}")
def test_only_a_config_error_comes_out_of_any_text(text):
    try:
        assert isinstance(read_config(text, "here"), RunConfig)
    except ConfigError as error:
        assert "here" in str(error)  # noqa: PT017


@given(st.sampled_from(KEYS), VALUES | st.text(max_size=20))
def test_only_a_config_error_comes_out_of_any_value(key, value):
    text = f"{key}{value!r}}}"
    try:
        assert isinstance(read_config(text, "here"), RunConfig)
    except ConfigError as error:
        assert "here" in str(error)  # noqa: PT017


def test_a_recipe_may_be_a_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("training: {epochs: 9}", "utf-8")
    assert read_recipe(str(path)).training.epochs == 9


def test_an_error_in_a_recipe_names_its_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("training: {epochs: 0}", "utf-8")
    with pytest.raises(ConfigError, match=r"mine\.yaml': Setting 'training.epochs'"):
        read_recipe(str(path))


@pytest.mark.parametrize("name", ["no-such-recipe", "", "x" * 300, "a\0b"])
def test_an_unknown_recipe_is_refused(name):
    with pytest.raises(ConfigError, match=r"There is no recipe|cannot be read"):
        read_recipe(name)


def test_a_recipe_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match="cannot be read as text"):
        read_recipe(str(path))


@pytest.mark.parametrize("epochs", [0, 0.5, 1.5])
def test_an_auxiliary_module_is_trained_for_whole_epochs(epochs):
    with pytest.raises(ConfigError, match=f"is {epochs}, but .* set it to 1 or more"):
        changed("objective", prefill="auxiliary", prefill_epochs=epochs)


@pytest.fixture(scope="module")
def docstrings():
    """Section and name of each setting -> what is said below it."""
    return {
        (section, name): " ".join(field.description.split())
        for section, kind in SECTIONS.items()
        for name, field in kind.model_fields.items()
    }


class TestPaper:
    """The recipe `paper` holds no addition of ours, and says what it had to choose."""

    def test_additions_are_off(self, docstrings):
        paper = read_recipe("paper")
        ours = {
            place: match[1]
            for place, text in docstrings.items()
            if (match := re.search(r"\bOurs(?:: ([\w-]+))?\.$", text))
        }
        assert {("model", "mark_whitespace"), ("objective", "prefill")} < ours.keys()
        found = {(section, name): getattr(getattr(paper, section), name) for section, name in ours}
        off = (None, False, 0, "none")
        assert found.pop(("training", "members")) == 1
        assert [
            place
            for place, value in found.items()
            if (value not in off if ours[place] is None else value == ours[place])
        ] == []

    def test_what_belongs_to_other_systems_is_off(self):
        objective = read_recipe("paper").objective
        assert [name for name in SPECIAL_WEIGHTS if getattr(objective, name)] == []

    def test_its_header_names_what_the_paper_does_not_give(self, docstrings):
        recipe = resources.files("mvcn") / "recipes" / "paper.yaml"
        lines = recipe.read_text("utf-8").splitlines()
        header = " ".join(line for line in lines if line.startswith("#"))
        chosen = [name for (_, name), text in docstrings.items() if text.endswith("ours.")]
        assert "congruity_weight" in chosen
        assert [name for name in chosen if not re.search(rf"\b{name}\b", header)] == []


@pytest.mark.parametrize(("posts", "expected"), [(16, 50), (160, 5), (1600, 3), (17, 25), (0, 50)])
def test_there_are_more_epochs_where_few_posts_make_few_steps(posts, expected):
    config = TrainingConfig(batch_size=16, epochs=3, min_steps=50)
    assert config.num_epochs(posts) == expected
    assert TrainingConfig(epochs=3).num_epochs(posts) == 3


@pytest.mark.parametrize(
    ("setting", "posts", "expected"),
    [("auto", 10_000, 5), ("auto", 10_001, 1), (1, 10, 1), (3, 10**6, 3)],
)
def test_members_are_trained_where_posts_are_few(setting, posts, expected):
    assert TrainingConfig(members=setting).num_members(posts) == expected
