"""Errors that a user can act on, and the words and tables of messages."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from importlib.util import find_spec

MAX_REASON_LENGTH = 200
"""Characters of a library's message that are quoted in a sentence."""
WITHOUT_IMAGE = "on_bad_image='blank' (without image)"
REMEDIES = f"{WITHOUT_IMAGE} or 'drop' (without post)"
"""How to continue in spite of a bad image, in Python; the command line prints its own option."""
EXTRAS = {
    "train": (
        "accelerate",
        "datasketch",
        "ftfy",
        "imagehash",
        "matplotlib",
        "onnx",
        "onnxscript",
        "scipy",
        "sklearn",
        "threadpoolctl",
        "torch",
        "transformers",
    ),
    "serve": ("fastapi", "prometheus_client", "python_multipart", "starlette", "uvicorn"),
}
"""Extra -> modules that it installs: prediction with graphs needs none of them."""


class MvcnError(Exception):
    """One sentence for the user: what is wrong, where, and what to do.

    The command line prints it and exits with code 2; it never shows a traceback for it.
    """


class BadImageError(MvcnError):
    """An image that is missing, empty, damaged, too large or not an image."""


class ConfigError(MvcnError):
    """A setting that does not exist, or whose value is out of range."""


class MissingExtraError(ConfigError):
    """Something needs an extra of the package that is not installed."""


class PluginError(ConfigError):
    """A plug-in that is not there, cannot be imported, or has the name of another."""


class DataError(MvcnError):
    """A file of posts, labels or splits that cannot be read."""


class LostProcessError(MvcnError):
    """Another training process has ended, so this one cannot continue."""


class RunError(MvcnError):
    """A run folder that is not one, is damaged, or would be overwritten."""


def which_of(name: str, known: Iterable[object]) -> str:
    """Return the end of a sentence about a name that is not known: the nearest one, or all."""
    names = [*map(str, known)]
    close = get_close_matches(name, names, n=1)
    return f"did you mean '{close[0]}'?" if close else f"choose from {', '.join(names)}."


def count_of(number: int, one: str, several: str = "") -> str:
    """Return a number and the words that agree with it, as in "1 image" and "3,000 images".

    Args:
        number: Any number.
        one: A noun in the singular, with further words if these depend on the number, too.
        several: The same in the plural; by default, the noun with an s.
    """
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


def reason_of(error: BaseException) -> str:
    """Return an error's message on one line, without the system's codes and paths."""
    message = " ".join((getattr(error, "strerror", None) or str(error)).split())
    return message[:MAX_REASON_LENGTH].rstrip(".") or type(error).__name__


def missing_extra(error: ModuleNotFoundError, what: str) -> ConfigError:
    """Return an error that says how to install a library that is missing or does not fit.

    Args:
        error: Of the import.
        what: That needs it.

    Raises:
        ModuleNotFoundError: The same again, where the library is none of an extra.
    """
    # Hugging Face says of any failure that a module could not be imported.
    cause = _first_cause(error)
    if "torchvision" in str(cause) and not isinstance(cause, ModuleNotFoundError):
        return ConfigError(
            f"The installed torchvision does not fit PyTorch ({reason_of(cause)}): run pip "
            "uninstall torchvision, or, if you need timm, run pip install --force-reinstall -c "
            "constraints.txt torch torchvision in mvcn's source folder."
        )
    library = (error.name or "").partition(".")[0]
    for extra, modules in EXTRAS.items():
        if library in modules:
            return needs_extra(what, extra)
    raise error


def _first_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def needs_extra(what: str, extra: str) -> MissingExtraError:
    """Return an error that says how to install what something needs.

    Args:
        what: That needs it.
        extra: Of the package.
    """
    return MissingExtraError(f"{what} needs the extra '{extra}': {how_to_install(extra)}.")


def require_torch(what: str) -> None:
    """Raise a ConfigError unless PyTorch, which something needs, is installed."""
    if find_spec("torch") is None:
        raise needs_extra(what, "train")


def how_to_install(extra: str) -> str:
    """Return what to type for an extra of the package, which is on no index yet."""
    return f"run pip install -c constraints.txt '.[{extra}]' in mvcn's source folder"


def format_table(rows: Sequence[Sequence[str]], *, are_numbers: bool = False) -> str:
    """Return rows as aligned columns, the first to the left, and numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    justify = str.rjust if are_numbers else str.ljust
    lines = ([row[0].ljust(widths[0]), *map(justify, row[1:], widths[1:])] for row in rows)
    return "\n".join("  ".join(line).rstrip() for line in lines)
