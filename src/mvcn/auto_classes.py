"""Registration with the Auto classes of Hugging Face, when these are imported and not before."""

import sys
from contextlib import suppress
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

REGISTERED_BY = {
    "transformers.models.auto.configuration_auto": "mvcn.models.configuration",
    "transformers.models.auto.modeling_auto": "mvcn.models.classification",
    "transformers.models.auto.processing_auto": "mvcn.inputs.processor",
    "transformers.pipelines": "mvcn.inference.pipeline",
}
"""Module of Auto classes, or of the pipelines -> module of ours that registers with it."""


class AutoClassFinder(MetaPathFinder):
    """Finds the modules of `REGISTERED_BY` as Python does, and registers when they are loaded."""

    def find_spec(
        self, fullname: str, path: Any, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a module of Auto classes is; None for all others."""
        if fullname not in REGISTERED_BY:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next(filter(None, found), None)
        if spec is not None and spec.loader is not None:
            spec.loader = RegisteringLoader(spec.loader)
        return spec


class RegisteringLoader(Loader):
    """Loads a module as its own loader does, then imports what registers with it."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Return what the own loader returns."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module with its own loader, then register."""
        assert module.__spec__ is not None  # of all modules that a finder has found
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        _register(module.__name__)


def register_when_imported() -> None:
    """Register with the Auto classes that are imported now, and with the others once they are."""
    sys.meta_path.insert(0, AutoClassFinder())
    for name in REGISTERED_BY:
        if name in sys.modules:
            _register(name)


def _register(name: str) -> None:
    # PyTorch may be missing. And a module of ours that imports Auto classes itself may not be
    # complete: then what registers is imported by it, or by the one that imports it.
    with suppress(ImportError):
        import_module(REGISTERED_BY[name])
