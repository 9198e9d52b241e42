"""What `sft()`, `osft()` and `lora_sft()` have in common: a signature that is derived, and a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from training_hub.algorithms.algorithm import Algorithm
from training_hub.parameters.description import docstring, signature
from training_hub.runs.log_lines import visible
from training_hub.selection import create_algorithm

F = TypeVar("F", bound=Callable[..., Any])


def described_by(algorithm: type[Algorithm]) -> Callable[[F], F]:
    """Give an algorithm's function the signature and docstring that its declarations make."""

    def decorate(function: F) -> F:
        function.__signature__ = signature(algorithm.declared(), algorithm.positional)  # type: ignore[attr-defined]
        function.__doc__ = docstring(algorithm.__doc__ or "", algorithm.declared())
        return function

    return decorate


def run(algorithm: type[Algorithm], args: tuple[Any, ...], given: Mapping[str, Any]) -> Any:
    """What an algorithm's function does: choose the backend, create the algorithm, train."""
    values = algorithm.by_name(args, given)
    backend = values.pop("backend", None)
    with visible():
        return create_algorithm(algorithm.name, backend).train(**values)
