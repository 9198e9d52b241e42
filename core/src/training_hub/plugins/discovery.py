"""Finds plugins by entry point and loads each behind a fence: a broken one is listed with its reason, and stops nobody.

Metadata alone says what is installed; a plugin's module is imported when what it brings is asked for or described.
The variable TRAINING_HUB_PLUGINS, a comma-separated list of names, limits what is loaded: to find the plugin that
breaks something. Empty means none.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, requires, version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pluggy

from training_hub.backends.base import Backend
from training_hub.data.row_format import FormatChoice, RowFormat
from training_hub.errors import PluginError
from training_hub.parameters.declaration import declared, merged
from training_hub.plugins import hookspecs
from training_hub.plugins.catalog import COMMANDS
from training_hub.trackers.tracker import Tracker

if TYPE_CHECKING:
    from training_hub.algorithms.base import Algorithm

GROUP = "training_hub.backends"
ALLOWLIST = "TRAINING_HUB_PLUGINS"
CORE = "training-hub"
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

    def __str__(self) -> str:
        return f"plugin {self.name!r} ({self.package} {self.version})"


@dataclass(frozen=True)
class LoadedPlugin:
    """What a plugin's hooks returned, by name."""

    plugin: Plugin
    backends: dict[str, type[Backend]] = field(default_factory=dict)
    algorithms: dict[str, type[Algorithm]] = field(default_factory=dict)
    row_formats: dict[str, RowFormat] = field(default_factory=dict)
    trackers: dict[str, type[Tracker]] = field(default_factory=dict)
    commands: dict[str, Callable[[Sequence[str]], int | None]] = field(default_factory=dict)
    demo: Callable[..., None] | None = None

    def brings(self) -> Iterator[tuple[str, str]]:
        """Kind and name of everything that no two plugins may both bring."""
        for kind, found in (
            ("backend", self.backends),
            ("algorithm", self.algorithms),
            ("row format", self.row_formats),
            ("tracker", self.trackers),
            ("command", self.commands),
        ):
            for name in found:
                yield kind, name


def installed() -> dict[str, Plugin]:
    """Every installed plugin by name, from metadata alone."""
    return dict(_scanned(tuple((path, _changed(path)) for path in sys.path)))


@lru_cache(maxsize=4)
def _scanned(places: tuple[tuple[str, int], ...]) -> dict[str, Plugin]:
    """Every plugin in the places where packages are installed, each with the time of its last change."""
    found: dict[str, list[EntryPoint]] = defaultdict(list)
    for entry in entry_points(group=GROUP):
        found[entry.name].append(entry)
    return {name: _plugin(name, tuple(entries)) for name, entries in sorted(found.items())}


def _changed(path: str) -> int:
    try:
        return Path(path or ".").stat().st_mtime_ns
    except OSError:
        return 0


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
    """Load every installed plugin: those that loaded, and why each of the others did not.

    Of two that bring the same name, the first in the order of their own names counts.
    """
    loaded: dict[str, LoadedPlugin] = {}
    broken: dict[str, PluginError] = {}
    homes: dict[tuple[str, str], Plugin] = {}
    for name, plugin in installed().items():
        try:
            found = _fenced(plugin)
            _refuse_twice(found, homes)
        except PluginError as error:
            broken[name] = error
        else:
            loaded[name] = found
            homes |= dict.fromkeys(found.brings(), plugin)
    return loaded, broken


def _refuse_twice(found: LoadedPlugin, homes: Mapping[tuple[str, str], Plugin]) -> None:
    for kind, name in found.brings():
        if first := homes.get((kind, name)):
            raise PluginError(
                f"{found.plugin} brings the {kind} {name!r}, which {first} brings too: uninstall one of them"
            )


def algorithms() -> dict[str, type[Algorithm]]:
    """Every algorithm by name: the hub's, then those of plugins that load."""
    return _own().algorithms | {
        name: kind for plugin in loadable()[0].values() for name, kind in plugin.algorithms.items()
    }


def builtin_algorithms() -> dict[str, type[Algorithm]]:
    """The hub's own algorithms by name; no plugin is loaded for them."""
    return _own().algorithms


def trackers() -> tuple[type[Tracker], ...]:
    """Every tracker: the hub's, then those of plugins that load."""
    return (*builtin_trackers(), *(kind for plugin in loadable()[0].values() for kind in plugin.trackers.values()))


def builtin_trackers() -> tuple[type[Tracker], ...]:
    """The hub's own trackers; no plugin is loaded for them."""
    return tuple(_own().trackers.values())


def formats_of(algorithm: str, names: Iterable[str]) -> FormatChoice:
    """The row formats that an algorithm takes, and those that others do.

    Args:
        algorithm: Its name, for messages.
        names: Those that it takes.

    Raises:
        PluginError: Nobody brings one of them.
    """
    every = _own().row_formats | {
        name: form for plugin in loadable()[0].values() for name, form in plugin.row_formats.items()
    }
    wanted = tuple(names)
    if missing := [name for name in wanted if name not in every]:
        raise PluginError(
            f"the algorithm {algorithm!r} learns from rows of {', '.join(map(repr, missing))}, and no plugin that "
            f"loads brings that row format; there are {', '.join(every)}"
        )
    known = algorithms().values()
    takers = {
        name: tuple(kind.name for kind in known if name in kind.row_formats) for name in every if name not in wanted
    }
    others = {name: (every[name], by) for name, by in takers.items() if by}
    return FormatChoice(tuple(every[name] for name in wanted), others)


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
def _manager() -> pluggy.PluginManager:
    """The one manager: the hub's own plugin is in it from the start, the others when they are loaded."""
    manager = pluggy.PluginManager("training_hub")
    manager.add_hookspecs(hookspecs)
    manager.register(import_module("training_hub.plugins.builtin"), CORE)
    return manager


@cache
def _own() -> LoadedPlugin:
    """What the hub itself brings."""
    return _collected(Plugin(CORE, CORE, version(CORE), ()))


@cache
def _load(plugin: Plugin) -> LoadedPlugin:
    def refuse(reason: str, cause: BaseException | None = None) -> PluginError:
        error = PluginError(f"{plugin} {reason}")
        error.__cause__ = cause
        return error

    if needs := _newer_core(plugin):
        raise refuse(
            f"needs {needs}, and {version(CORE)} is installed: pip install --upgrade {CORE}, or install an older "
            f"release of {plugin.package}"
        )
    try:
        module = plugin.entry_points[0].load()
    # A plugin may fail in any way at all, sys.exit() and a panic of Rust code included.
    except NEVER_FENCED:
        raise
    except BaseException as error:
        raise refuse(f"fails on import: {type(error).__name__}: {error}", error) from error
    if problem := hookspecs.problem(module):
        raise refuse(problem)
    try:
        _register(plugin, module)
        found = _collected(plugin)
    except NEVER_FENCED:
        raise
    except BaseException as error:
        # Left in, it would stand in the way of every plugin after it.
        if _manager().has_plugin(plugin.name):
            _manager().unregister(name=plugin.name)
        raise refuse(f"fails in its hooks: {type(error).__name__}: {error}", error) from error
    if problem := _problem(found):
        raise refuse(problem)
    for name, kind in found.backends.items():
        kind.name = name
    return found


def _newer_core(plugin: Plugin) -> str | None:
    """The requirement on this package that the plugin's own names and that is not met; told from metadata alone."""
    try:
        needed = [text for text in requires(plugin.package) or () if text.lower().replace("_", "-").startswith(CORE)]
        here = version(CORE)
    except PackageNotFoundError:
        return None
    if not needed:
        return None
    from packaging.requirements import InvalidRequirement, Requirement

    for text in needed:
        try:
            asked = Requirement(text)
        except InvalidRequirement:
            continue
        applies = asked.marker is None or asked.marker.evaluate({"extra": ""})
        if asked.name.replace("_", "-") == CORE and applies and not asked.specifier.contains(here, prereleases=True):
            return f"{CORE}{asked.specifier}"
    return None


def _register(plugin: Plugin, module: ModuleType) -> None:
    manager = _manager()
    if manager.has_plugin(plugin.name):
        manager.unregister(name=plugin.name)
    manager.register(module, plugin.name)
    manager.check_pending()


def _collected(plugin: Plugin) -> LoadedPlugin:
    """What the hooks of one registered plugin return."""
    manager = _manager()
    module = manager.get_plugin(plugin.name)
    others = [other for other in manager.get_plugins() if other is not module]

    def called(hook: str) -> Any:
        return next(iter(manager.subset_hook_caller(hook, others)()), None)

    return LoadedPlugin(
        plugin,
        dict(called("training_hub_backends") or {}),
        {getattr(kind, "name", repr(kind)): kind for kind in called("training_hub_algorithms") or ()},
        {getattr(form, "name", repr(form)): form for form in called("training_hub_row_formats") or ()},
        {getattr(kind, "name", repr(kind)): kind for kind in called("training_hub_trackers") or ()},
        dict(called("training_hub_commands") or {}),
        called("training_hub_demo"),
    )


def _problem(found: LoadedPlugin) -> str | None:
    """Why what a plugin brings cannot be used; None where it can."""
    own = _own()
    for what, several, kind in (
        ("a Backend class", found.backends, Backend),
        ("a Tracker class", found.trackers, Tracker),
    ):
        for name, each in several.items():
            if not (isinstance(each, type) and issubclass(each, kind)):
                return f"returns something else than {what} for {name!r}"
    for name, algorithm in found.algorithms.items():
        if not callable(getattr(algorithm, "problem", None)):
            return f"returns something else than an Algorithm class: {name}"
        if problem := algorithm.problem():
            return f"brings the algorithm {name!r}, which cannot be registered: {problem}"
    for name, form in found.row_formats.items():
        if not isinstance(form, RowFormat):
            return f"returns something else than a RowFormat for {name!r}"
        if not isinstance(getattr(form, "name", None), str):
            return f"brings a row format without a name: give {type(form).__name__} one"
    for tracker in found.trackers.values():
        if not isinstance(getattr(tracker, "name", None), str):
            return f"brings a tracker without a name: give {tracker.__name__} one"
    for name, command in found.commands.items():
        if not callable(command):
            return f"returns something else than a function for the command {name!r}"
        if name in COMMANDS:
            return f"brings the command {name!r}, which is the hub's own"
    taken = set(own.brings())
    if twice := next((each for each in found.brings() if each in taken), None):
        return f"brings the {twice[0]} {twice[1]!r}, which is the hub's own"
    if not any(True for _ in found.brings()):
        return f"brings no backend of its entry point's name, {found.plugin.name!r}; it brings none"
    if found.backends and found.plugin.name not in found.backends and not found.algorithms:
        brought = ", ".join(map(repr, found.backends))
        return f"brings no backend of its entry point's name, {found.plugin.name!r}; it brings {brought}"
    return _conflict(found, own)


def _conflict(found: LoadedPlugin, own: LoadedPlugin) -> str | None:
    """Whether a parameter is declared twice with other types, or is no declaration."""
    known = own.algorithms | found.algorithms
    try:
        shared = [declared(tracker.parameters, {}) for tracker in (*own.trackers.values(), *found.trackers.values())]
        for algorithm in known.values():
            merged(declared(algorithm.parameters, algorithm.defaults), *shared)
        common = [declared(algorithm.parameters, {}) for algorithm in own.algorithms.values()]
        for algorithm in found.algorithms.values():
            for each in common:
                merged(each, declared(algorithm.parameters, {}))
        for backend in found.backends.values():
            if backend.parameters is None:
                continue
            mine = declared(backend.parameters, {})
            for algorithm in (known[each] for each in backend.algorithms if each in known):
                merged(declared(algorithm.parameters, algorithm.defaults), mine, *shared)
    except (AttributeError, TypeError) as error:
        return f"declares parameters that cannot be used: {error}"
    return None
