"""The manifest of a run, as readers see it: any part may be missing, a newer schema is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training_hub.errors import RunFormatError
from training_hub.store.figure import Figure, figures_by_name, read

SCHEMA = 1
"""Version of the manifest."""
_BEFORE = "further"
"""What `backend_kwargs` was called by releases before 1.1."""


class Manifest:
    """What `run.json` says. Parts of another type than expected read as empty."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content = content

    def text(self, name: str) -> str | None:
        value = self.content.get(name)
        return value if isinstance(value, str) else None

    def part(self, name: str) -> dict[str, Any]:
        value = self.content.get(name)
        return dict(value) if isinstance(value, dict) else {}

    def time(self, name: str) -> float | None:
        value = self.content.get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    @property
    def versions(self) -> dict[str, str]:
        return {name: str(version) for name, version in self.part("versions").items() if version}

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter of the hub with its value."""
        return {name: _value(entry) for name, entry in self.part("parameters").items()}

    @property
    def given(self) -> dict[str, Any]:
        """Parameters whose value is somebody's choice, and what else was handed to the backend."""
        chosen = {
            name: _value(entry)
            for name, entry in self.part("parameters").items()
            if not isinstance(entry, dict) or entry.get("origin") != "default"
        }
        return chosen | self.backend_kwargs

    @property
    def backend_kwargs(self) -> dict[str, Any]:
        """What else was handed to the backend."""
        return self.part("backend_kwargs") or self.part(_BEFORE)

    @property
    def own_figures(self) -> tuple[Figure, ...]:
        """What its algorithm says of figures: of its own, and of common ones that it has in another unit."""
        return read(self.part("figures"))

    @property
    def figures(self) -> dict[str, Figure]:
        """What each figure of its events is."""
        return figures_by_name(self.own_figures)

    def origin(self, name: str) -> str:
        entry = self.part("parameters").get(name)
        return str(entry.get("origin", "")) if isinstance(entry, dict) else ""

    @property
    def model(self) -> str | None:
        """Where the model came from."""
        path = self.part("model").get("path") or self.parameters.get("model_path")
        return str(path) if path else None


def read_manifest(path: Path) -> Manifest | None:
    """Read a manifest; None where there is none.

    Raises:
        RunFormatError: It is no JSON object, cannot be opened, or a newer version wrote it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunFormatError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise DamagedManifestError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise DamagedManifestError(f"{path} is damaged: it holds no JSON object")
    manifest = Manifest(content)
    schema = content.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        writer = manifest.versions.get("training-hub", "of a newer version")
        raise RunFormatError(
            f"{path} was written by training-hub {writer} (schema {schema}), and this version reads up to schema "
            f"{SCHEMA}; pip install --upgrade training-hub"
        )
    return manifest


class DamagedManifestError(RunFormatError):
    """The manifest cannot be understood; what the events tell may still be read."""


def _value(entry: Any) -> Any:
    return entry.get("value") if isinstance(entry, dict) and "value" in entry else entry
