"""The public classes of known backends, under their names: imported from `training_hub`, brought by their plugins."""

from __future__ import annotations

from typing import Any

from training_hub.errors import PluginError
from training_hub.plugins import discovery
from training_hub.plugins.catalog import CLASSES, install_command


def __getattr__(name: str) -> Any:
    if not (backend := CLASSES.get(name)):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if backend not in discovery.installed():
        raise PluginError(f"{name} comes with the backend {backend!r}: {install_command(backend)}")
    return discovery.load(backend).backends[backend]
