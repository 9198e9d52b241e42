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

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import pluggy

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
