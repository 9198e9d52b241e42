"""Which backends there are: here and able to run, here and not, and known but not installed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

import typer

from training_hub.backends.base import Availability, Backend
from training_hub.cli.style import styled
from training_hub.errors import BackendUnavailableError
from training_hub.plugins import discovery
from training_hub.plugins.catalog import EXTRAS, install_command
from training_hub.plugins.registry import AlgorithmRegistry
from training_hub.plugins.selection import probed


@dataclass(frozen=True)
class Listed:
    """One backend, or a plugin that brings none."""

    name: str
    package: str | None
    version: str | None
    framework: str | None
    framework_version: str | None
    algorithms: tuple[str, ...]
    state: str
    """`available`, `unavailable`, `broken`, `no backend`, or `not installed`."""
    reason: str = ""
    install: str | None = None


def listed() -> list[Listed]:
    """Every backend that is installed, registered in this process or known."""
    return sorted(_listed(), key=lambda entry: (entry.state == "not installed", entry.name))


def _listed() -> Iterator[Listed]:
    loaded, broken = discovery.loadable()
    homes = {name: loaded[plugin].plugin for plugin in loaded for name in loaded[plugin].backends}
    found: dict[str, dict[str, type[Backend]]] = {}
    for algorithm in AlgorithmRegistry.list_algorithms():
        for name in AlgorithmRegistry.list_backends(algorithm):
            found.setdefault(name, {})[algorithm] = AlgorithmRegistry.get_backend(algorithm, name)
    for plugin in loaded.values():
        for name, kind in plugin.backends.items():
            found.setdefault(name, dict.fromkeys(kind.algorithms, kind))
    for name, kinds in found.items():
        yield _entry(name, homes.get(name), kinds)
    for name, plugin in loaded.items():
        if not plugin.backends:
            about = plugin.plugin
            yield Listed(name, about.package, about.version, None, None, tuple(plugin.algorithms), "no backend")
    for name, error in broken.items():
        about = discovery.installed()[name]
        yield Listed(name, about.package, about.version, None, None, (), "broken", str(error))
    for name in EXTRAS:
        if name not in found and name not in broken:
            yield Listed(name, None, None, None, None, (), "not installed", install=install_command(name))


def _entry(name: str, home: discovery.Plugin | None, kinds: dict[str, type[Backend]]) -> Listed:
    kind = next(iter(kinds.values())) if kinds else None
    availability = _availability(kind, name) if kind else Availability(True)
    framework = kind.framework if kind else None
    return Listed(
        name,
        home.package if home else None,
        home.version if home else None,
        framework,
        _version(framework),
        tuple(kinds),
        "available" if availability.available else "unavailable",
        availability.reason,
    )


def _availability(kind: type[Backend], name: str) -> Availability:
    try:
        return probed(kind, name)[1]
    except BackendUnavailableError as error:
        return Availability(False, str(error))


def _version(distribution: str | None) -> str | None:
    try:
        return version(distribution) if distribution else None
    except PackageNotFoundError:
        return None


def print_backends(*, as_json: bool) -> None:
    """Print the list."""
    entries = listed()
    if as_json:
        typer.echo(json.dumps([asdict(entry) for entry in entries], indent=2))
        return
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        about = entry.reason or entry.install
        state = styled(entry.state, sys.stdout, _COLOURS[entry.state])
        typer.echo(f"{entry.name:<{width}}  {state}{f': {about}' if about else ''}")
        if details := "; ".join(_details(entry)):
            typer.echo(f"{'':<{width}}  {details}")


_COLOURS = {
    "available": "green",
    "unavailable": "yellow",
    "broken": "red",
    "no backend": "green",
    "not installed": "blue",
}


def _details(entry: Listed) -> Iterator[str]:
    if entry.algorithms:
        yield ", ".join(entry.algorithms)
    if entry.package:
        yield f"{entry.package} {entry.version}"
    if entry.framework:
        yield f"{entry.framework} {entry.framework_version or '(not installed)'}"
