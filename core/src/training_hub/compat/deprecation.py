"""A warning that something of the older package has another name now, at the caller's line."""

from __future__ import annotations

import sys
import warnings

_OURS = ("training_hub.", "importlib.")


def deprecated(said: str) -> None:
    """Warn with a `DeprecationWarning` at the line outside of the hub that led here.

    Python shows these warnings where a script itself is the cause, so whose line it is matters.

    Args:
        said: What is deprecated, and what takes its place.
    """
    frame = sys._getframe(1)
    while f"{frame.f_globals.get('__name__')}.".startswith(_OURS) and frame.f_back:
        frame = frame.f_back
    warnings.warn_explicit(
        said,
        DeprecationWarning,
        frame.f_code.co_filename,
        frame.f_lineno,
        module=frame.f_globals.get("__name__"),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )
