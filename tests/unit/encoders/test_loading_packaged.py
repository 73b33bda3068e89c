"""Packaged encoders: the published files, or one sentence on what to install."""

import shutil
import tomllib
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from mvcn.encoders import loading
from mvcn.encoders.loading import PACKAGED, packaged_folder
from mvcn.errors import ConfigError

PROJECT = Path(__file__).parents[3] / "pyproject.toml"
LITE0 = "efficientnet-lite0"
MINILM = "minilm-l6"


@pytest.fixture
def installed_at(monkeypatch):
    """Return a function that makes packages be found in a folder, or not at all."""

    def install(folder):
        spec = ModuleSpec("fake", None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
        monkeypatch.setattr(loading, "find_spec", lambda _: folder and spec)
        packaged_folder.cache_clear()

    yield install
    packaged_folder.cache_clear()


@pytest.fixture
def copied(tmp_path, installed_at):
    """A copy of the small files' package as if it was the one installed."""
    shutil.copytree(packaged_folder(LITE0), tmp_path / PACKAGED[LITE0].folder)
    installed_at(tmp_path)
    return tmp_path / PACKAGED[LITE0].folder


@pytest.mark.parametrize("name", PACKAGED)
def test_the_installed_files_are_the_published_ones(name):
    assert all((packaged_folder(name) / file).is_file() for file in PACKAGED[name].sha256)


def test_an_exact_copy_is_accepted(copied):
    assert packaged_folder(LITE0) == copied


def test_one_changed_byte_is_refused(copied):
    (file,) = PACKAGED[LITE0].sha256
    content = bytearray((copied / file).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / file).write_bytes(content)
    with pytest.raises(
        ConfigError, match=r"SHA-256 differs\): reinstall it with .* efficientnet-lite0-pytorch"
    ):
        packaged_folder(LITE0)


def test_a_missing_file_is_named(copied):
    (file,) = PACKAGED[LITE0].sha256
    (copied / file).unlink()
    with pytest.raises(ConfigError, match=rf"{file} cannot be read .* reinstall"):
        packaged_folder(LITE0)


@pytest.mark.parametrize("name", PACKAGED)
def test_a_missing_package_says_what_to_install(name, installed_at):
    installed_at(None)
    extra = PACKAGED[name].extra
    with pytest.raises(
        ConfigError, match=rf"^'{name}' needs the extra '{extra}': run pip install "
    ):
        packaged_folder(name)


@pytest.mark.parametrize("name", PACKAGED)
def test_the_extra_installs_the_package(name):
    project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
    requirements = project["optional-dependencies"][PACKAGED[name].extra]
    assert any(one.startswith(f"{PACKAGED[name].distribution}>=") for one in requirements)


def test_a_module_that_is_no_package_counts_as_missing(monkeypatch):
    monkeypatch.setattr(loading, "find_spec", lambda _: ModuleSpec("fake", None))
    packaged_folder.cache_clear()
    with pytest.raises(ConfigError, match="pip install"):
        packaged_folder(MINILM)
    packaged_folder.cache_clear()
