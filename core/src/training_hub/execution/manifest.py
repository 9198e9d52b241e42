"""The manifest of a run, `run.json`: what ran, on what, with what, and how it ended. No secrets."""

from __future__ import annotations

import hashlib
import platform
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training_hub.backends.devices import devices
from training_hub.callbacks.callback import TrainingHubCallback
from training_hub.plugins import discovery
from training_hub.preflight.model import ModelSummary
from training_hub.store.figure import written
from training_hub.store.manifest import SCHEMA
from training_hub.store.redaction import masked

if TYPE_CHECKING:
    from training_hub.backends.base import FrameworkBackend
    from training_hub.backends.translation import Translation
    from training_hub.parameters.resolution import Parameters
    from training_hub.preflight.request import Request


def manifest(
    backend: FrameworkBackend, parameters: Parameters, translation: Translation, request: Request
) -> dict[str, Any]:
    """The manifest of a run that is about to start."""
    data = request.data
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "state": "running",
        "start": time.time(),
        "algorithm": parameters.algorithm,
        "backend": backend.name,
        "backend_choice": backend.chosen_because,
        "versions": {
            name: _version(name)
            for name in ("training-hub", _plugin(backend.name), backend.framework, "torch", "transformers")
            if name
        },
        "parameters": {
            name: {"value": _written(name, value), "origin": parameters.origin[name]}
            for name, value in parameters.items()
            if not parameters.declared[name].secret
        },
        "backend_kwargs": dict(parameters.backend_kwargs),
        "figures": written(parameters.figures),
        "arguments": {owner: dict(values) for owner, values in translation.arguments.items()},
        "launch": asdict(translation.launch) if translation.launch else None,
        "data": {"path": str(data.path), "format": data.format, "rows": data.rows, "sha256": data.fingerprint},
        "model": {"path": request.model.path, "fingerprint": fingerprint(request.model)},
        "machine": {
            "host": socket.gethostname(),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "devices": str(devices()),
        },
        "directory": str(Path.cwd()),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]] if parameters_on_command_line() else None,
        "git": _git(),
    }
    shown: dict[str, Any] = masked(found)
    return shown


def parameters_on_command_line() -> bool:
    """Whether this process is the command `training-hub`, whose arguments say how to run it again."""
    return Path(sys.argv[0]).name == "training-hub"


def fingerprint(model: ModelSummary) -> str | None:
    """A digest of a local model: its configuration, and names and sizes of its weights with the ends of each.

    Reading all weights would take minutes for a large model.
    """
    if not model.local:
        return None
    digest = hashlib.sha256((Path(model.path) / "config.json").read_bytes())
    for path in sorted(Path(model.path).glob("*.safetensors")):
        digest.update(f"{path.name} {path.stat().st_size}".encode())
        with path.open("rb") as stream:
            digest.update(stream.read(1 << 16))
            stream.seek(max(0, path.stat().st_size - (1 << 16)))
            digest.update(stream.read())
    return digest.hexdigest()


def _written(name: str, value: Any) -> Any:
    """Callbacks by the names of their classes: the objects are the caller's."""
    if name != "callbacks" or value is None:
        return value
    several = [value] if isinstance(value, TrainingHubCallback) else value
    return [type(callback).__qualname__ for callback in several]


def _plugin(backend: str) -> str | None:
    found = discovery.installed().get(backend)
    return found.package if found and len(found.entry_points) == 1 else None


def _git() -> dict[str, Any] | None:
    """The commit of the caller's directory, where it is one of a repository."""
    # Were it ended while it holds a lock, git would leave that in the caller's repository.
    command = ["git", "--no-optional-locks", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=2).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    about, changes = (
        [line for line in said.splitlines() if line.startswith("# ") is wanted] for wanted in (True, False)
    )
    commit = next((line.removeprefix("# branch.oid ") for line in about if line.startswith("# branch.oid ")), None)
    # A repository without a commit has a word there.
    return {"commit": commit, "dirty": bool(changes)} if commit and not commit.startswith("(") else None


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
