"""Plug-ins: models, losses and readers of datasets that belong to other packages.

An installed package names them as entry points, of the groups ``mvcn.models``, ``mvcn.losses`` and
``mvcn.datasets``. A module that the user names (``--plugin``, or `use_plugins`) has dictionaries
``MODELS``, ``LOSSES`` and ``DATASETS`` of them. Nothing else is imported: a run folder names its
plug-ins, but never brings them.
"""

import os
import shlex
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from hashlib import sha256
from importlib import import_module
from operator import getitem
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from mvcn.errors import PluginError, reason_of

Kind = Literal["model", "loss", "dataset"]
GROUPS: dict[Kind, str] = {
    "model": "mvcn.models",
    "loss": "mvcn.losses",
    "dataset": "mvcn.datasets",
}
"""Kind -> group of entry points; the dictionary of a module is the last part in capitals."""
VARIABLE = "MVCN_PLUGINS"
"""Environment variable of the modules that the user named, which processes inherit."""
DIGEST_LETTERS = 12
SAVED = ("name", "module", "package", "version")
"""What the files of a run say of a plug-in."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """One model, loss or dataset of another package, which is not imported yet."""

    kind: Kind
    name: str
    module: str
    """Module of its entry point, or the one that the user named."""
    package: str | None = None
    """Installed package; None for a module that the user named."""
    version: str | None = None
    """Of the package, or of the module that the user named: without one, a digest of its file."""
    find: Callable[[], Any] | None = field(default=None, repr=False, compare=False)
    """Imports it; None where a file says that it was used, which imports nothing."""

    @property
    def origin(self) -> str:
        """Its package with the version, or else its module."""
        name = f"module {self.module}" if self.package is None else self.package
        return " ".join(filter(None, (name, self.version)))

    def load(self) -> Any:
        """Import and return it.

        Raises:
            PluginError: That fails.
        """
        assert self.find is not None  # `available` has set it
        try:
            with _working_directory() if self.package is None else nullcontext():
                return self.find()
        except Exception as error:
            raise PluginError(
                f"The {self.kind} '{self.name}' of {self.origin} cannot be imported from "
                f"{self.module} ({_why(error)}): correct {self.module}, or ask its authors."
            ) from error

    def to_mapping(self) -> dict[str, str | None]:
        """Return what the files of a run say of it."""
        return {name: getattr(self, name) for name in SAVED}


def use_plugins(modules: Iterable[str]) -> None:
    """Import modules, installed or in the working directory, and use what they have.

    Processes that are started later use them, too.

    Raises:
        PluginError: A module cannot be imported, or has no model, loss or dataset.
    """
    for module in modules:
        imported = _import(module)
        if not any(_plugins_of(imported, kind) for kind in GROUPS):
            raise PluginError(
                f"The module {module} has no plug-in: define a dictionary MODELS, LOSSES or "
                "DATASETS in it, such as LOSSES = {'my-loss': my_loss}."
            )
        os.environ[VARIABLE] = ",".join(dict.fromkeys([*named_modules(), module]))


def named_modules() -> list[str]:
    """Return the modules that the user named, in their order."""
    return [module for module in os.environ.get(VARIABLE, "").split(",") if module]


def available(kind: Kind) -> list[Plugin]:
    """Return all plug-ins of a kind: those of named modules, then those of installed packages.

    Raises:
        PluginError: A named module cannot be imported.
    """
    named = [plugin for module in named_modules() for plugin in _plugins_of(_import(module), kind)]
    known = {(one.module, one.name) for one in named}
    installed = (one for one in _installed(tuple(sys.path)) if one.kind == kind)
    return [*named, *(one for one in installed if (one.module, one.name) not in known)]


def find_plugin(kind: Kind, name: str, own: Collection[str] = ()) -> Plugin | None:
    """Return the plug-in of that name, None if there is none.

    Args:
        kind: Its kind.
        name: Its name.
        own: Names of this package.

    Raises:
        PluginError: The name is also one of this package, or of two plug-ins.
    """
    found = [one for one in available(kind) if one.name == name]
    owners = [*(["mvcn"] if name in own else []), *(one.origin for one in found)]
    if len(owners) > 1:
        first, second, *_ = owners
        raise PluginError(
            f"Both {first} and {second} have a {kind} '{name}': rename one of the two, pip "
            "uninstall its package, or leave out its --plugin."
        )
    return found[0] if found else None


def find_saved(kind: Kind, saved: Mapping[str, Any]) -> Plugin:
    """Return the plug-in that a file of a run names by `Plugin.to_mapping`.

    Raises:
        PluginError: It is not installed here, or another package has that name.
    """
    wanted = Plugin(kind, *(saved[name] for name in SAVED))
    found = find_plugin(kind, wanted.name)
    about = f"This run needs the {kind} '{wanted.name}' of {wanted.origin}"
    if found is None:
        raise PluginError(f"{about}, which was not found: {_how_to_get(wanted)}.")
    is_same_package = found.package is not None and found.package == wanted.package
    if found.module != wanted.module and not is_same_package:
        raise PluginError(
            f"{about}, but {found.origin} has one of that name: {_how_to_get(wanted)}, and "
            "leave out the other."
        )
    return found


def _how_to_get(wanted: Plugin) -> str:
    name = (
        f"add --plugin {shlex.quote(wanted.module)} (in Python, "
        f"mvcn.plugins.use_plugins([{wanted.module!r}]))"
    )
    if wanted.package is None:
        return name
    return f"run pip install {shlex.quote(wanted.package)} if you trust it, or {name}"


def _plugins_of(module: ModuleType, kind: Kind) -> list[Plugin]:
    """Return what a named module has in its dictionary."""
    dictionary = GROUPS[kind].partition(".")[2].upper()
    found = getattr(module, dictionary, {})
    if not isinstance(found, Mapping):
        raise PluginError(
            f"{dictionary} in the plug-in {module.__name__} is not a dictionary: make it one, such "
            f"as {dictionary} = {{'my-{kind}': ...}}."
        )
    version = str(getattr(module, "__version__", None) or _digest(module))
    return [
        Plugin(kind, str(name), module.__name__, None, version, partial(getitem, found, name))
        for name in found
    ]


@cache
def _digest(module: ModuleType) -> str:
    """Return the start of the digest of a module's file, when it was first used."""
    with suppress(OSError, TypeError):
        return sha256(Path(str(module.__file__)).read_bytes()).hexdigest()[:DIGEST_LETTERS]
    return "without a file"


@cache
def _installed(path: tuple[str, ...]) -> list[Plugin]:
    """Return the plug-ins of packages that are installed in the folders of `sys.path`."""
    from importlib.metadata import entry_points  # takes a while

    return [
        Plugin(kind, entry.name, module, entry.dist.name, entry.dist.version, entry.load)
        for kind, group in GROUPS.items()
        for entry in entry_points(group=group)
        for module in (entry.value.partition(":")[0].strip(),)
        if entry.dist is not None
    ]


def _import(module: str) -> ModuleType:
    try:
        with _working_directory():
            return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            raise PluginError(
                f"There is no module '{module}' for --plugin: name one that is installed or in "
                "this folder, without .py, as in --plugin mine."
            ) from error
        raise _cannot_import(module, error) from error
    except Exception as error:
        raise _cannot_import(module, error) from error


def _cannot_import(module: str, error: Exception) -> PluginError:
    return PluginError(
        f"The plug-in {module} cannot be imported ({_why(error)}): correct it, or leave out "
        f"--plugin {module}."
    )


def _why(error: Exception) -> str:
    return f"{type(error).__name__}: {reason_of(error)}"


@contextmanager
def _working_directory() -> Iterator[None]:
    """Search the working directory, too, after all others."""
    folder = str(Path.cwd())
    sys.path.append(folder)
    try:
        yield
    finally:
        del sys.path[-1 - sys.path[::-1].index(folder)]
