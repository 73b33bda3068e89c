"""Which packages a tool has installed, and how large they are."""

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement

MEGABYTE = 1e6
COMPILED = ".pyc"


def installed(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of packages and of all that they require, by name.

    Args:
        packages: Requirements, such as ``mvcn[train]``.
    """
    waiting, seen, found = [Requirement(name) for name in packages], set(), {}
    while waiting:
        one = waiting.pop()
        extras = frozenset(one.extras) or frozenset({""})
        if (one.name.lower(), extras) in seen:
            continue
        seen.add((one.name.lower(), extras))
        try:
            package = distribution(one.name)
        except PackageNotFoundError:  # of another platform's build
            continue
        found[package.name] = package.version
        requirements = map(Requirement, package.requires or ())
        waiting += [each for each in requirements if _is_required(each, extras)]
    return found


def size_mb(packages: Iterable[str]) -> int:
    """Return the size of the files of packages, without those that Python compiles."""
    files = (file for name in packages for file in distribution(name).files or ())
    paths = {file.locate() for file in files if file.suffix != COMPILED}
    return round(sum(path.stat().st_size for path in paths if path.is_file()) / MEGABYTE)


def _is_required(requirement: Requirement, extras: Iterable[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras)
