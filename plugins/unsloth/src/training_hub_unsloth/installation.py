"""Whether what is installed here can train, told from metadata alone."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from training_hub.plugin import Devices, installation_problem, unmet

_CAPPED = ("datasets", "peft", "transformers", "trl", "unsloth_zoo")
_INSTALL = 'pip install "training-hub[unsloth]"'


def obstacle(devices: Devices) -> str | None:
    """Why Unsloth cannot train here, and what mends it; None where it can."""
    if problem := installation_problem("training-hub-unsloth"):
        return problem
    # Another framework in the same environment may have brought other versions.
    unfit = [*unmet("unsloth", *_CAPPED, also_missing=True), *unmet("training-hub-trl", also_missing=True)]
    if unfit:
        return f"{'; '.join(unfit)}: give Unsloth an environment of its own, or {_INSTALL}"
    if devices.kind == "mps":
        return (
            "on Apple's GPUs Unsloth trains through MLX, which this backend does not drive; the trl backend trains here"
        )
    if devices.kind == "cuda" and sys.platform != "win32" and find_spec("triton") is None:
        return "Unsloth's kernels need Triton, which is not installed: pip install triton"
    return None
