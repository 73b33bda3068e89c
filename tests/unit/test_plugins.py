"""Plug-ins are found, clash, break and are remembered as their docstrings say."""

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import BertConfig, ViTConfig

from mvcn.data.datasets import known_datasets, read_corpus
from mvcn.errors import ConfigError, DataError, PluginError
from mvcn.models.configuration import MvcnConfig
from mvcn.models.ensemble import build_network
from mvcn.models.network import MvcnOutput
from mvcn.models.registry import MODELS, System, described_system, system, system_of
from mvcn.plugins import VARIABLE, Plugin, available, find_plugin, find_saved, use_plugins
from mvcn.settings import with_values
from tests import example_plugin

EXAMPLE = "tests.example_plugin"


@pytest.fixture(autouse=True)
def none_named(monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("plugin_"):
            del sys.modules[name]


@pytest.fixture
def install(monkeypatch, tmp_path):
    """Return a function that makes a package visible, as pip does."""

    def write(package, code="", version="1.0", **groups):
        folder = tmp_path / "site" / package
        about = folder / f"{package}-{version}.dist-info"
        about.mkdir(parents=True)
        (folder / f"plugin_{package}.py").write_text(code)
        (about / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
        )
        lines = [
            line
            for group, names in groups.items()
            for line in (f"[mvcn.{group}]", *(f"{n} = plugin_{package}:{a}" for n, a in names))
        ]
        (about / "entry_points.txt").write_text("\n".join(lines))
        monkeypatch.syspath_prepend(folder)

    return write


DESCRIBED = "from mvcn.models.registry import System\nONE = System({!r}, {!r}, 'a test')\n"


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (torch.zeros(2, 3), "MeanTokens returned a Tensor: have it return an MvcnOutput, as in"),
        (MvcnOutput(torch.zeros(2, 4)), r"logits of shape \(2, 4\): .*, of which there are 3"),
        (MvcnOutput(torch.zeros(2, 3)), "returned fused_logits None: have it return one logit for"),
    ],
)
def test_a_network_that_returns_something_else_is_told(output, message, monkeypatch):
    use_plugins([EXAMPLE])
    encoders = {
        "text_config": BertConfig(hidden_size=12),
        "image_config": ViTConfig(hidden_size=12),
    }
    config = MvcnConfig(network="mean-tokens", num_labels=3, **encoders)
    network = build_network(system("mean-tokens"), config)
    monkeypatch.setattr(example_plugin.MeanTokens, "forward", lambda *_: output)
    with pytest.raises(PluginError, match=message):
        network(None)


def test_a_named_module_gives_what_its_dictionaries_have():
    with pytest.raises(ConfigError, match="There is no model 'mean-tokens'"):
        system("mean-tokens")
    use_plugins([EXAMPLE])
    about = system("mean-tokens")
    assert about.network is example_plugin.MeanTokens
    assert about.plugin.to_mapping() == {
        "name": "mean-tokens",
        "module": EXAMPLE,
        "package": None,
        "version": sha256(Path(example_plugin.__file__).read_bytes()).hexdigest()[:12],
    }
    assert about.options().model_dump() == {"scale": 1.0}
    assert find_plugin("loss", "largest-logit").load() is example_plugin.largest_logit
    assert [one.name for one in available("dataset")] == ["words"]
    assert system("mvcn") == MODELS["mvcn"]


def test_a_module_can_be_named_twice_and_other_processes_inherit_it():
    use_plugins([EXAMPLE, EXAMPLE])
    use_plugins([EXAMPLE])
    assert os.environ[VARIABLE] == EXAMPLE


def test_a_named_module_may_be_in_the_working_directory(tmp_path):
    code = "import plugin_beside\n__version__ = '0.3'\nLOSSES = {'one': abs}\n"
    (tmp_path / "plugin_here.py").write_text(code)
    (tmp_path / "plugin_beside.py").touch()
    path = list(sys.path)
    use_plugins(["plugin_here"])
    assert sys.path == path
    assert find_plugin("loss", "one").origin == "module plugin_here 0.3"


def test_an_installed_package_needs_no_name_and_is_imported_when_it_is_used(install):
    install("one", DESCRIBED.format("plugin_one:Net", ("text",)), models=[("mine", "ONE")])
    (found,) = available("model")
    assert (found.origin, found.module) == ("one 1.0", "plugin_one")
    assert "plugin_one" not in sys.modules
    assert system("mine").reads == ("text",)


def test_a_module_that_is_installed_and_named_is_one(install):
    code = DESCRIBED.format("plugin_one:Net", ("text",)) + "MODELS = {'mine': ONE}"
    install("one", code, models=[("mine", "ONE"), ("other", "ONE")])
    use_plugins(["plugin_one"])
    assert [one.name for one in available("model")] == ["mine", "other"]


def test_a_name_of_ours_or_of_two_is_an_error_that_names_both(install):
    install("one", models=[("hsan", "ONE"), ("tgf", "ONE"), ("mine", "ONE")], losses=[("a", "b")])
    install("two", models=[("mine", "ONE")], datasets=[("hfm", "read"), ("a", "b")])
    for name in ("hsan", "tgf"):
        with pytest.raises(PluginError, match=f"Both mvcn and one 1.0 have a model '{name}'"):
            system(name)
    with pytest.raises(PluginError, match=r"Both (one|two) 1.0 and (one|two) 1.0 have a model"):
        system("mine")
    with pytest.raises(PluginError, match=r"Both mvcn and two 1\.0 have a dataset 'hfm'"):
        read_corpus("hfm", Path("anywhere"))
    assert find_plugin("loss", "a").package == "one"  # a dataset of that name is none


def test_a_saved_model_of_ours_is_found_whatever_has_its_name(install):
    install("one", models=[("hsan", "ONE")])
    config = SimpleNamespace(network="hsan", plugin=None)
    assert system_of(config) is described_system(config) is MODELS["hsan"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import nothing_of_that_name", "No module named 'nothing_of_that_name'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("ONE = 1", "is not an mvcn.models.registry.System"),
        (DESCRIBED.format("plugin_one:Net", ("speech",)), r"reads \('speech',\), but must read"),
        (
            DESCRIBED.format("plugin_one:ONE", ("text",)),
            "is at plugin_one:ONE, which is not a",
        ),
        (DESCRIBED.format("plugin_one:Net", ("text",)), "has no attribute 'Net'"),
        (DESCRIBED.format("plugin_none:Net", ("text",)), "No module named 'plugin_none'"),
    ],
)
def test_a_broken_model_says_what_is_wrong(install, code, reason):
    install("one", code, models=[("mine", "ONE")])
    with pytest.raises(PluginError, match=reason) as raised:
        assert system("mine").network
    assert "'mine' of one 1.0" in str(raised.value)


@pytest.mark.parametrize(
    ("code", "module", "message"),
    [
        (None, "plugin_a", "There is no module 'plugin_a' for --plugin"),
        ("LOSSES = {'one': abs}", "plugin_a.py", "There is no module 'plugin_a.py' for --plugin"),
        ("", "plugin_a", "The module plugin_a has no plug-in: define"),
        ("LOSSES = [abs]", "plugin_a", "LOSSES in the plug-in plugin_a is not a dictionary"),
        ("import plugin_b", "plugin_a", "ModuleNotFoundError: No module named 'plugin_b'"),
        ("LOSSES = {", "plugin_a", r"The plug-in plugin_a cannot be imported \(SyntaxError"),
    ],
)
def test_a_named_module_that_is_no_plugin_says_why(tmp_path, code, module, message):
    if code is not None:
        (tmp_path / "plugin_a.py").write_text(code)
    with pytest.raises(PluginError, match=message):
        use_plugins([module])
    assert os.environ[VARIABLE] == ""


SAVED = {"name": "mine", "module": "plugin_one", "package": "one", "version": "0.9"}


def test_a_saved_plugin_is_found_in_its_package_or_by_its_module(install, tmp_path):
    with pytest.raises(PluginError, match=r"of one 0\.9, which was not found: run pip install one"):
        find_saved("loss", SAVED)
    (tmp_path / "plugin_one.py").write_text("LOSSES = {'mine': abs}")
    use_plugins(["plugin_one"])
    assert find_saved("loss", SAVED).package is None
    os.environ[VARIABLE] = ""
    install("one", losses=[("mine", "anything")])
    assert find_saved("loss", SAVED | {"module": "moved"}).version == "1.0"
    with pytest.raises(PluginError, match=r"of other 0\.9, but one 1\.0 has one of that name"):
        find_saved("loss", SAVED | {"module": "moved", "package": "other"})
    with pytest.raises(
        PluginError, match=r"module moved, but one 1\.0 has one of that name: add --plugin"
    ):
        find_saved("loss", SAVED | {"module": "moved", "package": None, "version": None})


def test_what_to_install_is_quoted_for_a_shell():
    saved = SAVED | {"package": "one; rm -r x", "module": "$(x)"}
    with pytest.raises(PluginError, match=r"pip install 'one; rm -r x' if .* --plugin '\$\(x\)' "):
        find_saved("loss", saved)


def test_what_a_model_says_that_it_reads_is_enough_for_graphs():
    plugin = SAVED | {"reads": ["text"]}
    config = SimpleNamespace(network="mine", plugin=plugin, learned_inputs=["text"])
    about = described_system(config)
    assert (about.learned(config), about.ignored(config)) == (("text",), ())
    with pytest.raises(PluginError, match="which was not found"):
        system_of(config)


def test_a_dataset_is_read_by_its_name_and_must_be_a_corpus(install, tmp_path):
    root = tmp_path / "words.txt"
    root.write_text("one two one")
    with pytest.raises(DataError, match="There is no dataset 'words'"):
        read_corpus("words", root)
    use_plugins([EXAMPLE])
    assert known_datasets()[-1] == "words"
    assert [post.label for post in read_corpus("words", root).posts] == ["one", "two", "one"]
    with pytest.raises(ConfigError, match="fixed layout: leave out --images"):
        read_corpus("words", root, images=tmp_path)
    install("one", "def read(root):\n    return [root]", datasets=[("wrong", "read")])
    with pytest.raises(DataError, match="The reader of dataset 'wrong' returned list"):
        read_corpus("wrong", root)


NETWORK = """
class Net:
    def __init__(self, text_width, {}):
        pass
    def forward(self):
        pass
"""


@pytest.mark.parametrize(
    ("option", "given", "message"),
    [
        ("free=None", {"free": 3}, None),
        (
            "pair: tuple[int, int] = (1, 2)",
            {"pair": 3},
            "'model.options.pair' is 3, but must be of",
        ),
        ("rate: float = 0.5", {"rate": "x"}, "'model.options.rate' is 'x', but must be a number"),
        ("path: 'Unknown' = None", {}, "options of the network Net cannot be read"),
        ("module: System = ONE", {"module": 1}, "'model.options.module' is 1, but must be of"),
    ],
)
def test_options_of_any_annotation_are_checked(install, option, given, message):
    code = DESCRIBED.format("plugin_one:Net", ("text",)) + NETWORK.format(option)
    install("one", code, models=[("mine", "ONE")])
    if message is None:
        options = with_values(system("mine").options(), given, "model.options")
        assert options.model_dump() == given
    else:
        with pytest.raises(ConfigError, match=message):
            with_values(system("mine").options(), given, "model.options")


def test_a_plugin_without_version_is_named_by_its_package():
    assert Plugin("loss", "a", "b", "package").origin == "package"
    assert isinstance(MODELS["mvcn"], System)


def test_finding_plugins_imports_no_slow_library():
    program = (
        "import sys, mvcn.plugins as p; p.available('model')\n"
        "print({'torch', 'numpy', 'transformers', 'pydantic'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")
