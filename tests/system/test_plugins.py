"""The guide to plug-ins does what it says, and runs that need one say so where it is missing."""

import json
import re
import shlex
import shutil
import sys
import tomllib
from hashlib import sha256
from pathlib import Path

import pytest
import yaml

from mvcn.inference.classifier import Classifier
from mvcn.plugins import VARIABLE
from mvcn.training.run_folder import Run
from tests.system.history import require_margin

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "plugins.md"
LINES = ["good\tlovely tea", "bad\tmiserable soup", "good\twhat a day", "bad\train again"] * 10


def blocks(language, section=".*?"):
    """Code blocks of a language in a section of the guide, or in all of it."""
    text = GUIDE.read_text("utf-8")
    parts = re.findall(rf"^## {section}\n.*?(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    fenced = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    found = [block for part in parts for block in fenced.findall(part)]
    return [code for name, code in found if name == language]


@pytest.fixture(scope="session")
def package(shared):
    """Folder of the module of the guide, and of what pip writes for its `pyproject.toml`."""

    def write(folder):
        (about,) = map(tomllib.loads, blocks("toml"))
        (folder / "mine.py").write_text("\n".join(blocks("python")), "utf-8")
        project = about["project"]
        name, version = project["name"], project["version"]
        installed = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        installed.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        (installed / "METADATA").write_text(metadata)
        with (installed / "entry_points.txt").open("w") as file:
            for group, entries in project["entry-points"].items():
                print(f"[{group}]", *map(" = ".join, entries.items()), sep="\n", file=file)

    return shared("plug-in", write)


@pytest.fixture
def nothing_installed(monkeypatch, tmp_path):
    """A working directory without plug-ins."""
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("mine", None)


@pytest.fixture
def installed(nothing_installed, monkeypatch, package):
    monkeypatch.syspath_prepend(package)


@pytest.fixture
def in_folder(nothing_installed, package, tmp_path):
    """The module alone, in the working directory."""
    shutil.copy(package / "mine.py", tmp_path)


@pytest.fixture
def posts(posts_table, tmp_path):
    """A file of posts of the guide, with a label each."""
    for path in (posts_table / "train").iterdir():
        target = tmp_path / path.name
        target.symlink_to(path)
    (tmp_path / "lines.txt").write_text("\n".join(LINES), "utf-8")


@pytest.fixture(scope="session")
def gated_run(shared, package, tiny_config):
    """Run folder with graphs of a network and a loss of the package."""
    from mvcn.training.run import train

    config = tiny_config(
        model={"network": "gated", "options": {"width": 16}, "frozen_text_layers": 1},
        objective={"congruity_weight": 0.0, "losses": {"margin": 0.5}},
        training={"epochs": 2, "export": True},
    )

    def make(folder):
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(package)
            train(config, folder)
        sys.modules.pop("mine")

    return shared("runs/gated", make)


def commands_of(section):
    lines = "".join(blocks("", section)).splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("mvcn ")]


@pytest.mark.parametrize(
    ("section", "visible"),
    [
        ("From an empty folder", "installed"),
        ("A term of the loss", "installed"),
        ("A dataset", "installed"),
        ("Without a package", "in_folder"),
    ],
)
def test_the_guide_does_what_it_says(section, visible, request, mvcn, posts, tiny_options):
    request.getfixturevalue(visible)
    commands = commands_of(section)
    assert commands
    for name, *arguments in commands:
        options = tiny_options if name == "train" else []
        code, output, errors = mvcn(name, *options, *arguments)
        assert code == 0, errors
        if name == "train":
            assert ("--plugin mine" in output) == (visible == "in_folder")  # in the next command
        if name == "models":
            assert re.search(r"gated +mvcn-mine 0\.1 +text image +- +Me, 2026", output)


def test_a_run_remembers_its_plugins(gated_run):
    expected = {"module": "mine", "package": "mvcn-mine", "version": "0.1"}
    saved = json.loads((gated_run / "config.json").read_text())
    assert saved["plugin"] == expected | {"name": "gated", "reads": ["text", "image"]}
    plugins = json.loads((gated_run / "environment.json").read_text())["plugins"]
    assert plugins == [
        {"kind": "model", "name": "gated"} | expected,
        {"kind": "loss", "name": "margin"} | expected,
    ]
    card = (gated_run / "README.md").read_text()
    assert "the model gated of the plug-in mvcn-mine 0.1" in card
    require_margin(gated_run)


def test_both_backends_predict_the_same(gated_run, installed, generated_posts):
    found = [
        [list(one.probabilities.values()) for one in classifier.predict(generated_posts[:6])]
        for classifier in (Classifier.from_pretrained(gated_run, b) for b in ("onnx", "torch"))
    ]
    assert found[0] == [pytest.approx(row, abs=1e-5) for row in found[1]]


def test_graphs_need_no_plugin_and_weights_say_what_to_install(gated_run, nothing_installed, fails):
    before = Classifier.from_pretrained(gated_run).predict_one("what a lovely day")
    assert before.probabilities
    assert "mine" not in sys.modules
    message = fails("predict", gated_run, "--text", "a day", "--backend", "torch")
    assert message == (
        "Error: This run needs the model 'gated' of mvcn-mine 0.1, which was not found: run pip "
        "install mvcn-mine if you trust it, or add --plugin mine (in Python, "
        "mvcn.plugins.use_plugins(['mine']))."
    )


def test_a_run_never_imports_what_its_files_name(gated_run, nothing_installed, tmp_path, fails):
    run = shutil.copytree(gated_run, tmp_path / "run")
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')")
    saved = json.loads((run / "config.json").read_text())
    saved["plugin"] |= {"module": "trap", "package": None}
    (run / "config.json").write_text(json.dumps(saved))
    settings = yaml.safe_load((run / "config.yaml").read_text())
    settings["training"]["plugins"] = ["trap"]
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    message = fails("predict", run, "--text", "a day", "--backend", "torch")
    assert "of module trap 0.1, which was not found: add --plugin trap (in Python" in message
    assert Run(run).posts.train  # which reads the settings
    assert "trap" not in sys.modules


def test_a_dataset_that_is_not_there_is_named(
    nothing_installed, package, monkeypatch, posts, mvcn, fails, tiny_options
):
    with monkeypatch.context() as patch:
        patch.syspath_prepend(package)
        lines = ["--data", "lines", "--root", "lines.txt"]
        code, _, errors = mvcn("train", *tiny_options, *lines, "--output", "run")
        assert code == 0, errors
    message = fails("explain", "run", "--output", "why", "--post", "1")
    assert "This run needs the dataset 'lines' of mvcn-mine 0.1, which was not found" in message


def test_an_interrupted_training_with_plugins_resumes_exactly(
    in_folder, tiny_config, tmp_path, monkeypatch
):
    from transformers import TrainerCallback

    from mvcn.training.run import train

    class Stop(TrainerCallback):
        def on_epoch_begin(self, args, state, control, **_):
            if state.epoch and state.epoch >= 1:
                raise KeyboardInterrupt

    config = tiny_config(
        model={"network": "gated"},
        objective={"losses": {"margin": 0.5}},
        training={"epochs": 2, "plugins": ["mine"]},
    )
    complete = train(config, tmp_path / "complete")
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "resumed", callbacks=[Stop()])
    resumed = train(config, tmp_path / "resumed", resume=True)
    weights = [(run.folder / "model.safetensors").read_bytes() for run in (complete, resumed)]
    assert weights[0] == weights[1]
    assert complete.environment["plugins"][0] == {
        "kind": "model",
        "name": "gated",
        "module": "mine",
        "package": None,
        "version": sha256(Path("mine.py").read_bytes()).hexdigest()[:12],
    }


def test_an_experiment_compares_plugins_and_notices_when_they_change(
    in_folder, tiny_config, tmp_path, mvcn, fails
):
    sections = tiny_config(training={"epochs": 1, "plugins": ["mine"]}).to_mapping()
    data = {"posts": {name: sections["data"][name] for name in ("train", "dev")}}
    usual = {"model": sections["model"], "training": sections["training"]}
    del usual["training"]["seed"], usual["model"]["network"], usual["model"]["options"]
    content = {"name": "small", "seeds": [0], "data": data}
    content["variants"] = {"gated": {"recipe": "gated", **usual}}
    Path("small.yaml").write_text(yaml.safe_dump(content))
    assert mvcn("experiment", "small.yaml")[0] == 0
    settings = json.loads(Path("results/small/posts/gated/seed-0.json").read_text())["settings"]
    assert settings["model"]["network"] == "gated"
    assert settings["objective"]["congruity_weight"] == 0.0

    Path("mine.py").write_text(Path("mine.py").read_text() + "\n# other weights\n")
    del sys.modules["mine"]
    message = fails("experiment", "small.yaml")
    assert "seed-0.json was made with another version of a plug-in (model 'gated')" in message


def test_a_broken_plugin_stops_only_what_needs_it(
    nothing_installed, tiny_run, monkeypatch, mvcn, fails, tmp_path
):
    (tmp_path / "broken.py").write_text("import nothing_of_that_name")
    about = tmp_path / "broken-2.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 2.0\n")
    (about / "entry_points.txt").write_text("[mvcn.models]\nhalf = broken:HALF\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert mvcn("predict", tiny_run, "--text", "a day")[0] == 0
    assert "broken" not in sys.modules
    message = fails("train", "posts.csv", "--model", "half", "--output", "run")
    assert "The model 'half' of broken 2.0 cannot be imported from broken" in message
    assert "No module named 'nothing_of_that_name'" in message
    code, listed, _ = mvcn("models")
    assert code == 0
    assert re.search(r"half +broken 2\.0 +- .*cannot be imported", listed)
    code, listed, _ = mvcn("models", "--json")
    assert json.loads(listed)[-1]["name"] == "half"
