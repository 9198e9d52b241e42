"""Finds plugins by entry point and loads each behind a fence: a broken one is listed with its reason, and stops nobody.

Metadata alone says what is installed; a plugin's module is imported when its backend is asked for or described.
The variable TRAINING_HUB_PLUGINS, a comma-separated list of names, limits what is loaded: to find the plugin that
breaks something. Empty means none.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

import pluggy

from training_hub import hookspecs
from training_hub.backend import Backend
from training_hub.errors import PluginError

if TYPE_CHECKING:
    from training_hub.algorithms.algorithm import Algorithm

GROUP = "training_hub.backends"
ALLOWLIST = "TRAINING_HUB_PLUGINS"
NEVER_FENCED = (KeyboardInterrupt, GeneratorExit)
"""What a plugin does not raise of itself: it goes on to the caller."""


@dataclass(frozen=True)
class Plugin:
    """An installed entry point, as its metadata says."""

    name: str
    package: str
    version: str
    entry_points: tuple[EntryPoint, ...] = field(repr=False)
    """One, or several where packages claim the same name."""


@dataclass(frozen=True)
class LoadedPlugin:
    """What a plugin's hooks returned."""

    plugin: Plugin
    backends: dict[str, type[Backend]]
    algorithms: dict[str, type[Algorithm]]
    demo: Callable[..., None] | None


def installed() -> dict[str, Plugin]:
    """Every installed plugin by name, from metadata alone."""
    found: dict[str, list[EntryPoint]] = defaultdict(list)
    for entry in entry_points(group=GROUP):
        found[entry.name].append(entry)
    return {name: _plugin(name, tuple(entries)) for name, entries in sorted(found.items())}


def _plugin(name: str, entries: tuple[EntryPoint, ...]) -> Plugin:
    packages = [(e.dist.name, e.dist.version) if e.dist else ("?", "?") for e in entries]
    return Plugin(
        name,
        " and ".join(package for package, _ in packages),
        " and ".join(version for _, version in packages),
        entries,
    )


def load(name: str) -> LoadedPlugin:
    """Load an installed plugin.

    Raises:
        PluginError: It cannot be loaded; the message says why.
    """
    return _fenced(installed()[name])


def loadable() -> tuple[dict[str, LoadedPlugin], dict[str, PluginError]]:
    """Load every installed plugin: those that loaded, and why each of the others did not."""
    loaded: dict[str, LoadedPlugin] = {}
    broken: dict[str, PluginError] = {}
    for name, plugin in installed().items():
        try:
            loaded[name] = _fenced(plugin)
        except PluginError as error:
            broken[name] = error
    return loaded, broken


def _fenced(plugin: Plugin) -> LoadedPlugin:
    allowed = os.environ.get(ALLOWLIST)
    names = [name for part in (allowed or "").split(",") if (name := part.strip())]
    if allowed is not None and plugin.name not in names:
        unknown = ", ".join(repr(name) for name in names if name not in installed())
        remark = f", and names {unknown}, which is not installed" if unknown else ""
        raise PluginError(f"plugin {plugin.name!r} is switched off: {ALLOWLIST}={allowed!r} does not name it{remark}")
    if len(plugin.entry_points) > 1:
        raise PluginError(
            f"several packages bring a backend named {plugin.name!r}: {plugin.package}; uninstall all but one of them"
        )
    return _load(plugin)


@cache
def _load(plugin: Plugin) -> LoadedPlugin:
    def refuse(reason: str, cause: BaseException | None = None) -> PluginError:
        error = PluginError(f"plugin {plugin.name!r} ({plugin.package} {plugin.version}) {reason}")
        error.__cause__ = cause
        return error

    try:
        module = plugin.entry_points[0].load()
    # A plugin may fail in any way at all, sys.exit() and a panic of Rust code included.
    except NEVER_FENCED:
        raise
    except BaseException as error:
        raise refuse(f"fails on import: {type(error).__name__}: {error}", error) from error
    version = getattr(module, "training_hub_hooks", None)
    if version != hookspecs.VERSION:
        written = f"was written for hook version {version}" if version is not None else "names no training_hub_hooks"
        raise refuse(f"{written}; this training-hub speaks version {hookspecs.VERSION}: install a matching release")

    manager = pluggy.PluginManager("training_hub")
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(module, plugin.name)
        manager.check_pending()
        backends = dict(manager.hook.training_hub_backends() or {})
        algorithms = {algorithm.name: algorithm for algorithm in manager.hook.training_hub_algorithms() or ()}
        demo: Callable[..., None] | None = manager.hook.training_hub_demo()
    except NEVER_FENCED:
        raise
    except BaseException as error:
        raise refuse(f"fails in its hooks: {type(error).__name__}: {error}", error) from error
    wrong = [name for name, kind in backends.items() if not (isinstance(kind, type) and issubclass(kind, Backend))]
    if wrong:
        raise refuse(f"returns something else than a Backend class for {', '.join(map(repr, wrong))}")
    if plugin.name not in backends and not algorithms:
        brought = ", ".join(map(repr, backends)) or "none"
        raise refuse(f"brings no backend of its entry point's name, {plugin.name!r}; it brings {brought}")
    for name, kind in backends.items():
        kind.name = name
    return LoadedPlugin(plugin, backends, algorithms, demo)
