"""Errors that a user can act on."""

LONGEST_REASON = 200
"""Characters of what a library says that stay readable inside a sentence."""


class MvcnError(Exception):
    """One sentence for the user: what is wrong, where, and what to do.

    The command line prints it and exits with code 2; it never shows a traceback for it.
    """


class BadImageError(MvcnError):
    """An image that is missing, empty, damaged, too large or not an image."""


class ConfigError(MvcnError):
    """A setting that does not exist or has a value out of its range."""


class DataError(MvcnError):
    """A file of posts, labels or splits that cannot be read as what it should be."""


class LostProcessError(MvcnError):
    """Another of the processes that train together has ended, so that this one cannot continue."""


class RunError(MvcnError):
    """A run folder that is not one, is damaged, or would be overwritten."""


def reason_of(error: BaseException) -> str:
    """Return what an error says, on one line, without the system's codes and paths."""
    said = " ".join((getattr(error, "strerror", None) or str(error)).split())
    return said[:LONGEST_REASON].rstrip(".") or type(error).__name__
