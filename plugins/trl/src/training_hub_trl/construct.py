"""Makes argument objects of the frameworks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from training_hub.plugin import ParameterError

T = TypeVar("T")


def construct(kind: type[T], arguments: Mapping[str, Any]) -> T:
    """An argument object of the framework.

    Raises:
        ParameterError: It refuses a value; the message is the framework's.
    """
    try:
        return kind(**arguments)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"{kind.__name__} refuses the arguments: {error}") from error
