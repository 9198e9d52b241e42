"""What a plugin may implement: the hooks between the hub and its plugins.

A plugin's entry point (group `training_hub.backends`) names a module; the entry point's name is the plugin's, and that
of the backend it brings. The module says which hook version it was written for and implements hooks:

    from training_hub.plugin import hookimpl

    training_hub_hooks = 1

    @hookimpl
    def training_hub_backends():
        from my_package.backend import MyBackend   # imports no framework
        return {"my-backend": MyBackend}

Importing the module, and calling its hooks, imports neither torch nor the framework. A hook that an older hub need not
know is marked `@hookimpl(optionalhook=True)`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import pluggy

from training_hub.errors import nearest

if TYPE_CHECKING:
    from training_hub.algorithms.base import Algorithm
    from training_hub.backends.base import Backend
    from training_hub.data.row_format import RowFormat
    from training_hub.trackers.tracker import Tracker

VERSION = 1
"""Raised when a hook changes in a way that old plugins cannot follow. A new hook is no such change."""

hookspec = pluggy.HookspecMarker("training_hub")
hookimpl = pluggy.HookimplMarker("training_hub")


@hookspec
def training_hub_backends() -> Mapping[str, type[Backend]]:  # type: ignore[empty-body]
    """Return the backends that the plugin brings, by name."""


@hookspec
def training_hub_algorithms() -> Sequence[type[Algorithm]]:  # type: ignore[empty-body]
    """Return the algorithms that the plugin brings."""


@hookspec
def training_hub_row_formats() -> Sequence[RowFormat]:  # type: ignore[empty-body]
    """Return the forms of rows that the plugin brings, which its algorithms name in `row_formats`."""


@hookspec
def training_hub_trackers() -> Sequence[type[Tracker]]:  # type: ignore[empty-body]
    """Return the experiment trackers that the plugin brings. Their parameters become those of every algorithm."""


@hookspec
def training_hub_commands() -> Mapping[str, Callable[[Sequence[str]], int | None]]:  # type: ignore[empty-body]
    """Return commands by name: `training-hub NAME ...` calls the function with the arguments behind the name.

    The first line of its docstring is shown by `training-hub --help`. It returns the exit code, None for 0; a
    `TrainingHubError` that it raises is shown as the hub's own are.
    """


@hookspec
def training_hub_demo() -> Callable[..., None]:  # type: ignore[empty-body]
    """Return a function that shows the backend at work on a small model and task of its own making.

    It is called with `output_dir: Path` and `say: Callable[[str], None]`, which prints a line.
    """


def problem(module: ModuleType) -> str | None:
    """Why the hooks of a plugin's module cannot be called; None where they can."""
    written = getattr(module, "training_hub_hooks", None)
    if written is None:
        return (
            f"names no training_hub_hooks: its author writes `training_hub_hooks = {VERSION}`, the version of hooks "
            f"that it is for, in {module.__name__}"
        )
    if written != VERSION:
        return (
            f"was written for hook version {written}; this training-hub speaks version {VERSION}: install a matching "
            "release"
        )
    known = [name for name, each in globals().items() if hasattr(each, "training_hub_spec")]
    functions = {name: getattr(module, name) for name in dir(module) if name.startswith("training_hub_")}
    for name, function in functions.items():
        if not inspect.isroutine(function):
            continue
        marked = getattr(function, "training_hub_impl", None)
        if marked is None:
            return f"has the function {name} without @hookimpl: nothing would call it"
        if name not in known and not marked["optionalhook"]:
            return (
                f"has the hook {name}, which this training-hub does not know{nearest(name, known)}; one that "
                "only newer releases know is marked @hookimpl(optionalhook=True)"
            )
    return None
