"""Whether what is installed here can train, told from metadata alone."""

from __future__ import annotations

import sys
from importlib.metadata import version
from importlib.util import find_spec

from packaging.specifiers import SpecifierSet

from training_hub.backends.devices import Devices
from training_hub_trl.installation import unmet

SUPPORTED = SpecifierSet(">=2026.10.9,<2026.11")
"""Releases of Unsloth that this plugin is written for."""

_NEEDED = ("torch", "unsloth", "unsloth_zoo", "transformers", "trl", "peft", "datasets", "training_hub_trl")
_CAPPED = ("datasets", "peft", "transformers", "trl", "unsloth_zoo")
_INSTALL = 'pip install "training-hub[unsloth]"'


def obstacle(devices: Devices) -> str | None:
    """Why Unsloth cannot train here, and what mends it; None where it can."""
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        return f"{', '.join(missing)} is missing: {_INSTALL}"
    if (found := version("unsloth")) not in SUPPORTED:
        return (
            f"unsloth {found} is installed, and this plugin is written for {SUPPORTED}: "
            f'pip install "unsloth{SUPPORTED}", or install the release of training-hub-unsloth that fits'
        )
    # Another framework in the same environment may have brought other versions.
    if unfit := [*unmet("unsloth", *_CAPPED), *unmet("training-hub-trl")]:
        return f"{'; '.join(unfit)}: give Unsloth an environment of its own, or {_INSTALL}"
    if devices.kind == "mps":
        return (
            "on Apple's GPUs Unsloth trains through MLX, which this backend does not drive; the trl backend trains here"
        )
    if devices.kind == "cuda" and sys.platform != "win32" and find_spec("triton") is None:
        return "Unsloth's kernels need Triton, which is not installed: pip install triton"
    return None
