"""Annotations of arrays are checked by jaxtyping at each call, all others by beartype alone.

jaxtyping's own hook checks each function in its way, which is slow: it binds the arguments by their
names, and checks them twice. Both check the same.
"""

import inspect
from functools import wraps
from typing import get_args

import jaxtyping

_jaxtyped = jaxtyping.jaxtyped


def jaxtyped(*, typechecker):
    """Do as `jaxtyping.jaxtyped`, by the type checker alone where no array is annotated."""

    def decorate(decorated):
        is_function = inspect.isfunction(decorated)
        if is_function and not any(map(names_array, decorated.__annotations__.values())):
            return _checked_when_called(typechecker, decorated)
        return _jaxtyped(typechecker=typechecker)(decorated)

    return decorate


def _checked_when_called(typechecker, function):
    """Let the type checker read the annotations at the first call: many are never called."""
    checked = None

    @wraps(function)
    def call(*arguments, **options):
        nonlocal checked
        if jaxtyping.config.jaxtyping_disable:
            return function(*arguments, **options)
        checked = checked or typechecker(function)
        return checked(*arguments, **options)

    return call


def names_array(annotation):
    """Return whether an annotation names an array, or may do so as it is a string."""
    if isinstance(annotation, str):
        return True
    if isinstance(annotation, list):  # arguments of a callable
        return any(map(names_array, annotation))
    is_array = isinstance(annotation, type) and issubclass(annotation, jaxtyping.AbstractArray)
    return is_array or any(map(names_array, get_args(annotation)))


def check():
    """Let jaxtyping's hook use this; to be called before the package is imported."""
    jaxtyping.jaxtyped = jaxtyped
