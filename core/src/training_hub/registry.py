"""Algorithms and their backends by name: those of the core, of plugins, and those registered in this process."""

from __future__ import annotations

from importlib import import_module
from typing import ClassVar

from training_hub import plugins
from training_hub.algorithms.algorithm import Algorithm
from training_hub.backend import Backend
from training_hub.catalog import CARRIED_OUT, EXTRAS, install_command
from training_hub.errors import (
    AlgorithmNotFoundError,
    BackendNotFoundError,
    BackendNotInstalledError,
    ParameterError,
    nearest,
)

_BUILT_IN = {
    "sft": ("training_hub.algorithms.sft", "SFTAlgorithm"),
    "osft": ("training_hub.algorithms.osft", "OSFTAlgorithm"),
    "lora_sft": ("training_hub.algorithms.lora_sft", "LoRASFTAlgorithm"),
}


class AlgorithmRegistry:
    """Which algorithms there are, and which backends carry each out."""

    _algorithms: ClassVar[dict[str, type[Algorithm]]] = {}
    _backends: ClassVar[dict[tuple[str, str], type[Backend]]] = {}

    @classmethod
    def register_algorithm(cls, name: str, algorithm_class: type[Algorithm]) -> None:
        """Make an algorithm usable in this process under `name`."""
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
    def get_algorithm(cls, name: str) -> type[Algorithm]:
        """The class of an algorithm.

        Raises:
            AlgorithmNotFoundError: Neither the core nor a plugin that loads brings it.
        """
        if not isinstance(name, str):
            raise AlgorithmNotFoundError(f"expected the name of an algorithm; got {name!r}")
        if name in cls._algorithms:
            return cls._algorithms[name]
        if name in _BUILT_IN:
            module, attribute = _BUILT_IN[name]
            built_in: type[Algorithm] = getattr(import_module(module), attribute)
            return built_in
        loaded, broken = plugins.loadable()
        for plugin in loaded.values():
            if name in plugin.algorithms:
                return plugin.algorithms[name]
        known = cls.list_algorithms()
        reasons = "".join(f"\n  not searched: {error}" for error in broken.values())
        raise AlgorithmNotFoundError(
            f"no algorithm is named {name!r}{nearest(name, known)}; there are: {', '.join(known)}{reasons}"
        )

    @classmethod
    def list_algorithms(cls) -> list[str]:
        """Names of all algorithms: the core's, then those registered, then plugins'."""
        loaded, _ = plugins.loadable()
        brought = sorted(name for plugin in loaded.values() for name in plugin.algorithms)
        return list(dict.fromkeys([*_BUILT_IN, *cls._algorithms, *brought]))

    @classmethod
    def get_backend(cls, algorithm_name: str, backend_name: str) -> type[Backend]:
        """The class of a backend that carries an algorithm out.

        Raises:
            PluginError: Its plugin is installed and cannot be loaded.
            BackendNotInstalledError: It is known and not installed; the message has the command that installs it.
            BackendNotFoundError: It is unknown, or does not carry out this algorithm.
        """
        if not isinstance(backend_name, str):
            raise ParameterError(f"backend: expected the name of a backend; got {backend_name!r}")
        if registered := cls._backends.get((algorithm_name, backend_name)):
            return registered
        if backend_name in plugins.installed():
            found = plugins.load(backend_name).backends.get(backend_name)
        else:
            found = _brought_by_another_entry(backend_name)
        if found is None:
            raise cls._not_found(algorithm_name, backend_name)
        if algorithm_name not in found.algorithms:
            carried = ", ".join(found.algorithms) or "none"
            raise BackendNotFoundError(
                f"backend {backend_name!r} does not carry out {algorithm_name!r}, but {carried}; "
                f"for {algorithm_name!r} there are: {', '.join(cls.list_backends(algorithm_name)) or 'none installed'}"
            )
        return found

    @classmethod
    def _not_found(cls, algorithm_name: str, backend_name: str) -> BackendNotFoundError:
        here = cls.list_backends(algorithm_name)
        missing = [n for n, carried in CARRIED_OUT.items() if algorithm_name in carried and n not in here]
        there_are = f"for {algorithm_name!r} there are: {', '.join(here) or 'none installed'}" + (
            f"; not installed: {', '.join(missing)}" if missing else ""
        )
        if algorithm_name not in (carried := CARRIED_OUT.get(backend_name, (algorithm_name,))):
            return BackendNotFoundError(
                f"backend {backend_name!r} does not carry out {algorithm_name!r}, but {', '.join(carried)}; {there_are}"
            )
        if command := install_command(backend_name):
            return BackendNotInstalledError(f"backend {backend_name!r} is not installed here; install it: {command}")
        known = [*here, *EXTRAS]
        return BackendNotFoundError(f"no backend is named {backend_name!r}{nearest(backend_name, known)}; {there_are}")

    @classmethod
    def list_backends(cls, algorithm_name: str) -> list[str]:
        """Names of the backends here that carry an algorithm out, the recommended ones first."""
        loaded, _ = plugins.loadable()
        here = [name for algorithm, name in cls._backends if algorithm == algorithm_name]
        for plugin in loaded.values():
            here += [name for name, kind in plugin.backends.items() if algorithm_name in kind.algorithms]
        recommended = cls.get_algorithm(algorithm_name).recommended_backends
        return [*(n for n in recommended if n in here), *sorted({n for n in here if n not in recommended})]


def _brought_by_another_entry(backend_name: str) -> type[Backend] | None:
    loaded, _ = plugins.loadable()
    return next((p.backends[backend_name] for p in loaded.values() if backend_name in p.backends), None)
