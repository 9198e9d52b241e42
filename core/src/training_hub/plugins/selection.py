"""Which backend trains: the one that was named, or the first recommended one that can."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Any

from training_hub.algorithms.base import Algorithm
from training_hub.backends.base import Availability, Backend
from training_hub.errors import BackendNotFoundError, BackendUnavailableError, in_one_line
from training_hub.launchers.ranks import speaks
from training_hub.plugins import discovery
from training_hub.plugins.catalog import install_command
from training_hub.plugins.registry import AlgorithmRegistry

logger = logging.getLogger("training_hub")


@dataclass(frozen=True)
class Choice:
    """A backend, why it was chosen, and why others were passed over."""

    backend: Backend
    reason: str
    passed_over: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        over = "".join(f"; passed over {name}: {reason}" for name, reason in self.passed_over)
        return f"backend {self.backend.name}: {self.reason}{over}"


def create_algorithm(algorithm_name: str, backend_name: str | None = None, **settings: Any) -> Algorithm:
    """Make an algorithm that is ready to train.

    Args:
        algorithm_name: `sft`, `osft`, `lora_sft`, or one that a plugin brings.
        backend_name: The backend to use; by default the first recommended one that is available here.
        **settings: Parameters that every `train` starts from.

    Raises:
        AlgorithmNotFoundError: There is no such algorithm.
        BackendNotFoundError: There is no such backend, or none is installed.
        BackendUnavailableError: The backend cannot run on this machine.
        PluginError: The backend's plugin cannot be loaded.
    """
    algorithm = AlgorithmRegistry.get_algorithm(algorithm_name)
    choice = select(algorithm_name, backend_name)
    if speaks(os.environ):
        logger.info("%s", choice)
    return algorithm(choice.backend, **settings)


def select(algorithm: str, backend: str | None = None) -> Choice:
    """Choose a backend.

    Args:
        algorithm: Name of the algorithm.
        backend: The backend's name: it is used or refused, never swapped. None lets the algorithm's recommended order
            decide, then the other backends that are installed.

    Raises:
        BackendNotFoundError: There is no such backend, or none is installed.
        BackendUnavailableError: The named backend, or every installed one, cannot run on this machine.
        PluginError: The named backend's plugin cannot be loaded.
    """
    if backend is not None:
        try:
            return _choice(_able(algorithm, backend), "named in the call")
        except BackendUnavailableError as error:
            raise BackendUnavailableError(f"backend {backend!r} cannot run here: {error}") from error.__cause__

    recommended = AlgorithmRegistry.get_algorithm(algorithm).recommended_backends
    here = AlgorithmRegistry.list_backends(algorithm)
    _, broken = discovery.loadable()
    passed: list[tuple[str, str]] = []
    for name in dict.fromkeys([*recommended, *here]):
        if name in broken:
            passed.append((name, str(broken[name])))
        elif name not in here:
            passed.append((name, _absence(algorithm, name)))
        else:
            try:
                candidate = _able(algorithm, name)
            except BackendUnavailableError as error:
                passed.append((name, str(error)))
            else:
                why = "first recommended" if not passed else "first that can run here"
                return _choice(candidate, why, tuple(passed))
    reasons = "".join(f"\n  {name}: {reason}" for name, reason in passed)
    if here:
        raise BackendUnavailableError(f"no installed backend for {algorithm!r} can run here:{reasons}")
    commands = [f"\n  {command}" for name in reversed(recommended) if (command := install_command(name))]
    raise BackendNotFoundError(
        f"no backend for {algorithm!r} is installed{':' + reasons if reasons else ''}"
        + (f"\ninstall one of them; the first runs on any machine:{''.join(commands)}" if commands else "")
    )


def probed(kind: type[Backend], name: str) -> tuple[Backend, Availability]:
    """Make a backend, and ask whether it can run here.

    Raises:
        BackendUnavailableError: It fails at that, in any way.
    """
    try:
        backend = kind()
        backend.name = name
        found = backend.availability()
        return backend, Availability(found.available, found.reason)
    # As with its plugin: other backends are tried and listed all the same.
    except discovery.NEVER_FENCED:
        raise
    except BaseException as error:
        raise BackendUnavailableError(f"its check fails: {in_one_line(error)}") from error


def _able(algorithm: str, name: str) -> Backend:
    backend, availability = probed(AlgorithmRegistry.get_backend(algorithm, name), name)
    if not availability.available:
        raise BackendUnavailableError(availability.reason)
    return backend


def _absence(algorithm: str, name: str) -> str:
    if name in discovery.installed():
        return f"installed, and the `algorithms` of its backend do not name {algorithm!r}"
    return "not installed"


def _choice(backend: Backend, reason: str, passed_over: tuple[tuple[str, str], ...] = ()) -> Choice:
    choice = Choice(backend, reason, passed_over)
    backend.chosen_because = str(choice)
    return choice
