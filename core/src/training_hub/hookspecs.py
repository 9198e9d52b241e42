"""What a plugin may implement: the whole contract between the hub and its plugins.

A plugin's entry point (group `training_hub.backends`) names a module; the entry point's name is the backend's name. The
module says which hook version it was written for and implements hooks:

    from training_hub import hookimpl

    training_hub_hooks = 1

    @hookimpl
    def training_hub_backends():
        from my_package.backend import MyBackend   # imports no framework
        return {"my-backend": MyBackend}

Importing the module, and calling its hooks, imports neither torch nor the framework.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from training_hub.algorithms.algorithm import Algorithm
    from training_hub.backend import Backend

VERSION = 1
"""Raised when a hook changes in a way that old plugins cannot follow."""

hookspec = pluggy.HookspecMarker("training_hub")
hookimpl = pluggy.HookimplMarker("training_hub")


@hookspec(firstresult=True)
def training_hub_backends() -> Mapping[str, type[Backend]]:  # type: ignore[empty-body]
    """Return the backends that the plugin brings, by name."""


@hookspec(firstresult=True)
def training_hub_algorithms() -> Sequence[type[Algorithm]]:  # type: ignore[empty-body]
    """Return the algorithms that the plugin brings."""


@hookspec(firstresult=True)
def training_hub_demo() -> Callable[..., None]:  # type: ignore[empty-body]
    """Return a function that shows the backend at work on a small model and task of its own making.

    It is called with `output_dir: Path` and `say: Callable[[str], None]`, which prints a line.
    """
