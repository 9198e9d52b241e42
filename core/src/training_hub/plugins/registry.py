"""Algorithms and their backends by name: those of the core, of plugins, and those registered in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import ClassVar

from training_hub.algorithms.base import Algorithm
from training_hub.backends.base import Backend
from training_hub.compat.names import absence
from training_hub.errors import (
    AlgorithmNotFoundError,
    BackendNotFoundError,
    BackendNotInstalledError,
    ParameterError,
    nearest,
)
from training_hub.parameters.declaration import Parameter, declared
from training_hub.plugins import discovery
from training_hub.plugins.catalog import ALGORITHMS, EXTRAS, install_command


class AlgorithmRegistry:
    """Which algorithms there are, and which backends execute each."""

    _algorithms: ClassVar[dict[str, type[Algorithm]]] = {}
    _backends: ClassVar[dict[tuple[str, str], type[Backend]]] = {}

    @classmethod
    def register_algorithm(cls, name: str, algorithm_class: type[Algorithm]) -> None:
        """Make an algorithm usable in this process under `name`.

        One that trains by itself, with a `train` of its own, may do without declared parameters; the hub then knows
        none of them.

        Raises:
            TypeError: It lacks something that the hub cannot do without; the message says what.
        """
        if not (isinstance(algorithm_class, type) and issubclass(algorithm_class, Algorithm)):
            raise TypeError(f"algorithm {name!r}: expected a subclass of training_hub.Algorithm")
        trains_itself = algorithm_class.train is not Algorithm.train and not hasattr(algorithm_class, "parameters")
        if not trains_itself and (problem := algorithm_class.problem()):
            raise TypeError(f"algorithm {name!r}: {problem}")
        cls._algorithms[name] = algorithm_class

    @classmethod
    def register_backend(cls, algorithm_name: str, backend_name: str, backend_class: type[Backend]) -> None:
        """Make a backend usable in this process for an algorithm, at once and before any plugin of the same name.

        Raises:
            AlgorithmNotFoundError: There is no algorithm of that name.
            TypeError: `backend_class` is no `Backend`.
        """
        cls.get_algorithm(algorithm_name)
        if not (isinstance(backend_class, type) and issubclass(backend_class, Backend)):
            raise TypeError(f"backend {backend_name!r}: expected a subclass of training_hub.Backend")
        cls._backends[algorithm_name, backend_name] = backend_class

    @classmethod
    @contextmanager
    def registered(
        cls,
        *,
        algorithms: Mapping[str, type[Algorithm]] | None = None,
        backends: Mapping[tuple[str, str], type[Backend]] | None = None,
    ) -> Iterator[None]:
        """Register algorithms and backends for the length of a block, such as a test; then all is as it was.

        Args:
            algorithms: By name.
            backends: By the names of algorithm and backend.

        Example:
            with AlgorithmRegistry.registered(backends={("sft", "mine"): OnCPU}):
                sft(..., backend="mine")
        """
        before = dict(cls._algorithms), dict(cls._backends)
        try:
            for name, algorithm in (algorithms or {}).items():
                cls.register_algorithm(name, algorithm)
            for (algorithm_name, backend_name), backend in (backends or {}).items():
                cls.register_backend(algorithm_name, backend_name, backend)
            yield
        finally:
            cls._algorithms, cls._backends = before

    @classmethod
    def get_algorithm(cls, name: str) -> type[Algorithm]:
        """The class of an algorithm.

        Raises:
            AlgorithmNotFoundError: Neither the core nor a plugin that loads brings it.
        """
        if not isinstance(name, str):
            raise AlgorithmNotFoundError(f"expected the name of an algorithm; got {name!r}")
        if name in cls._algorithms:
            return cls._algorithms[name]
        if name in (own := discovery.builtin_algorithms()):
            return own[name]
        loaded, broken = discovery.loadable()
        for plugin in loaded.values():
            if name in plugin.algorithms:
                return plugin.algorithms[name]
        if said := absence(name):
            raise AlgorithmNotFoundError(said)
        known = cls.list_algorithms()
        reasons = "".join(f"\n  not searched: {error}" for error in broken.values())
        raise AlgorithmNotFoundError(
            f"no algorithm is named {name!r}{nearest(name, known)}; there are: {', '.join(known)}{reasons}"
        )

    @classmethod
    def list_algorithms(cls) -> list[str]:
        """Names of all algorithms: the core's, then those registered, then plugins'."""
        loaded, _ = discovery.loadable()
        brought = sorted(name for plugin in loaded.values() for name in plugin.algorithms)
        return list(dict.fromkeys([*discovery.builtin_algorithms(), *cls._algorithms, *brought]))

    @classmethod
    def parameters(cls, algorithm_name: str) -> dict[str, Parameter]:
        """Every parameter that the algorithm takes, with those of its backends' own, whichever backend trains.

        For help texts, schemas and files; a backend's own are in a group of its name.
        """
        found = cls.get_algorithm(algorithm_name).declared()
        for name in cls.list_backends(algorithm_name):
            own = cls.get_backend(algorithm_name, name).parameters
            for parameter in declared(own, {}).values() if own else ():
                # Where two backends have one of the same name, each is asked about its own when it trains.
                found.setdefault(parameter.name, replace(parameter, group=f"{parameter.group} (backend {name})"))
        return found

    @classmethod
    def get_backend(cls, algorithm_name: str, backend_name: str) -> type[Backend]:
        """The class of a backend that executes an algorithm.

        Raises:
            PluginError: Its plugin is installed and cannot be loaded.
            BackendNotInstalledError: It is known and not installed; the message has the command that installs it.
            BackendNotFoundError: It is unknown, or does not execute this algorithm.
        """
        if not isinstance(backend_name, str):
            raise ParameterError(f"backend: expected the name of a backend; got {backend_name!r}")
        if registered := cls._backends.get((algorithm_name, backend_name)):
            return registered
        if backend_name in discovery.installed():
            # For an algorithm that a plugin brings all are loaded, and of two with one name the second is left out.
            if algorithm_name not in discovery.builtin_algorithms() and (
                left_out := discovery.loadable()[1].get(backend_name)
            ):
                raise left_out
            found = discovery.load(backend_name).backends.get(backend_name)
        else:
            found = _brought_by_another_entry(backend_name)
        if found is None:
            raise cls._not_found(algorithm_name, backend_name)
        if algorithm_name not in found.algorithms:
            carried = ", ".join(found.algorithms) or "none"
            raise BackendNotFoundError(
                f"backend {backend_name!r} does not execute {algorithm_name!r}, but {carried}; "
                f"for {algorithm_name!r} there are: {', '.join(cls.list_backends(algorithm_name)) or 'none installed'}"
            )
        return found

    @classmethod
    def _not_found(cls, algorithm_name: str, backend_name: str) -> BackendNotFoundError:
        here = cls.list_backends(algorithm_name)
        missing = [n for n, known in ALGORITHMS.items() if algorithm_name in known and n not in here]
        there_are = f"for {algorithm_name!r} there are: {', '.join(here) or 'none installed'}" + (
            f"; not installed: {', '.join(missing)}" if missing else ""
        )
        if algorithm_name not in (carried := ALGORITHMS.get(backend_name, (algorithm_name,))):
            return BackendNotFoundError(
                f"backend {backend_name!r} does not execute {algorithm_name!r}, but {', '.join(carried)}; {there_are}"
            )
        if command := install_command(backend_name):
            return BackendNotInstalledError(f"backend {backend_name!r} is not installed here; install it: {command}")
        known = [*here, *EXTRAS]
        return BackendNotFoundError(f"no backend is named {backend_name!r}{nearest(backend_name, known)}; {there_are}")

    @classmethod
    def list_backends(cls, algorithm_name: str) -> list[str]:
        """Names of the backends here that execute an algorithm, the recommended ones first."""
        loaded, _ = discovery.loadable()
        here = [name for algorithm, name in cls._backends if algorithm == algorithm_name]
        for plugin in loaded.values():
            here += [name for name, kind in plugin.backends.items() if algorithm_name in kind.algorithms]
        recommended = cls.get_algorithm(algorithm_name).recommended_backends
        return [*(n for n in recommended if n in here), *sorted({n for n in here if n not in recommended})]


def _brought_by_another_entry(backend_name: str) -> type[Backend] | None:
    loaded, _ = discovery.loadable()
    return next((p.backends[backend_name] for p in loaded.values() if backend_name in p.backends), None)
