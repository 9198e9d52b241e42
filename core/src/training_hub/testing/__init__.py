"""The conformance kit for plugin authors: what users of a backend rely on, as a test class to inherit from.

from training_hub.testing import BackendContract

class TestMine(BackendContract):
    backend = "mine"
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training_hub.testing.contract import BackendContract

__all__ = ["BackendContract"]


def __getattr__(name: str) -> Any:
    if name != "BackendContract":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import pytest
    except ImportError as error:
        raise ImportError(
            'training_hub.testing needs pytest, which is not installed: pip install "training-hub[testing]"'
        ) from error
    # So that a failed assertion of a check shows its values, as one in the author's own tests does.
    pytest.register_assert_rewrite("training_hub.testing.checks")
    from training_hub.testing.contract import BackendContract

    return BackendContract
