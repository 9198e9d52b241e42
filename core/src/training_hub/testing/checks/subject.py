"""What is checked: an installed backend, what its author says of it, and what the checks share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import pytest

from training_hub.algorithms.base import Algorithm
from training_hub.backends.base import Backend, FrameworkBackend
from training_hub.backends.devices import devices
from training_hub.backends.translation import Item, Translation
from training_hub.errors import AlgorithmNotFoundError, UserError
from training_hub.parameters.declaration import Parameter
from training_hub.parameters.resolution import Parameters
from training_hub.plugins import discovery
from training_hub.plugins.registry import AlgorithmRegistry
from training_hub.testing.reference import Measured, measure_apart
from training_hub.testing.runs import NotPossibleError, Runs, Toy, Trained, make_toy
from training_hub.testing.values import COMPANIONS, candidates

LEARN_ROWS = ("sft", "osft", "lora_sft")
"""Algorithms that learn to continue conversations: the kit makes rows for them, and measures their loss itself."""
PLACES = {"model_path": "model", "data_path": "rows.jsonl", "ckpt_output_dir": "out"}
"""For translations, which touch none of them."""


class Subject:
    """What a plugin's author says: the backend's name, and where needed the rest."""

    backend: ClassVar[str]
    """The name of the backend, as of its entry point."""
    algorithms: ClassVar[tuple[str, ...] | None] = None
    """Algorithms to check; by default all that the backend declares."""
    parameters: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """By algorithm: what every run is given besides, such as another learning rate."""
    values: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """By parameter: what to try it with, itself included, where its type does not say a valid value."""
    beside: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """By parameter: others that it needs to be valid, or to mean anything, where its algorithm takes them."""
    tolerance: ClassVar[float | None] = None
    """Largest difference of two losses that count as the same; by default 1e-3, and 2e-2 on a GPU, for bfloat16."""
    patience: ClassVar[float] = 60.0
    """Seconds in which a run must end once one of its processes was killed."""
    least_fall: ClassVar[Mapping[str, float]] = {}
    """By algorithm: how far its loss falls at least in the main run, in its own unit; by default 0.1."""
    unchecked: ClassVar[Mapping[str, str]] = {}
    """What users rely on most and cannot be checked here, each with the reason why that is right: see
    `test_what_users_rely_on_most_is_checked`, which names them."""

    @classmethod
    def environment(cls) -> AbstractContextManager[Any]:
        """In which the backend trains, such as a stand-in for hardware that this machine lacks; by default as it is."""
        return nullcontext()

    @classmethod
    def rows(cls, algorithm: str) -> Iterable[Mapping[str, Any]] | None:
        """Twenty good rows of an algorithm of the author's own, of different lengths; None where it learns from others.

        For `sft`, `osft` and `lora_sft` the kit has conversations.
        """
        return None

    @classmethod
    def first_loss(cls, algorithm: str, base: float) -> float | None:
        """The loss of the first step, with all rows in it, before anything is learnt; None where nobody can tell.

        Args:
            algorithm: Which one.
            base: The base model's loss on the kit's conversations, in nats a trained token.
        """
        return base if algorithm in LEARN_ROWS else None

    @classmethod
    def measure(cls, toy: Toy, models: list[Path], directory: Path) -> dict[Path, Measured]:
        """Loss of saved models by transformers alone."""
        return measure_apart(toy.model, toy.rows, models, directory)

    # What follows is for the checks.

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Give a check each algorithm in turn, or each parameter of each."""
        names = self.checked_algorithms()
        if "parameter" in metafunc.fixturenames:
            pairs = [(name, parameter) for name in names for parameter in self.declared(name)]
            some: list[Any] = [pytest.param(*pair, id="-".join(pair)) for pair in pairs]
            metafunc.parametrize(("algorithm", "parameter"), some or [_unknown(2)])
        elif "algorithm" in metafunc.fixturenames:
            metafunc.parametrize("algorithm", names or [_unknown(1)])

    @classmethod
    def checked_algorithms(cls) -> list[str]:
        """Those to check that exist; none where the plugin does not load, which is a check of its own."""
        try:
            named = cls.algorithms or cls.kind().algorithms
        except Exception:
            return []
        found = []
        for name in named:
            try:
                cls.algorithm(name)
            except AlgorithmNotFoundError:
                continue
            found.append(name)
        return found

    @classmethod
    def kind(cls) -> type[Backend]:
        """The class that the entry point brings."""
        return _kind(cls.backend)

    @classmethod
    def algorithm(cls, name: str) -> type[Algorithm]:
        return AlgorithmRegistry.get_algorithm(name)

    @classmethod
    def declared(cls, algorithm: str) -> dict[str, Parameter]:
        """Every parameter of a run: the algorithm's, and the backend's own."""
        return cls.algorithm(algorithm).declared(cls.kind())

    @classmethod
    def made(cls) -> Backend:
        """An object of the entry point's class."""
        made = cls.kind()()
        made.name = cls.backend
        return made

    @classmethod
    def needed(cls, algorithm: str) -> dict[str, Any]:
        """Values of the parameters without a default that are no paths."""
        given = cls.parameters.get(algorithm, {})
        return {
            name: given[name] if name in given else _first_value(cls, parameter)
            for name, parameter in cls.declared(algorithm).items()
            if parameter.required and name not in PLACES
        }

    @classmethod
    def same_loss(cls) -> float:
        """Largest difference of two losses that count as the same."""
        if cls.tolerance is not None:
            return cls.tolerance
        return 1e-3 if devices().kind == "cpu" else 2e-2

    @classmethod
    def resolved(cls, algorithm: str, **values: Any) -> Parameters:
        return cls.algorithm(algorithm).resolve({**PLACES, **cls.needed(algorithm), **values}, backend=cls.kind())

    @classmethod
    def translated(cls, algorithm: str, **values: Any) -> Translation:
        backend = cls.made()
        assert isinstance(backend, FrameworkBackend)
        return backend.translate(cls.resolved(algorithm, **values))

    @classmethod
    def trials(cls, algorithm: str, parameter: str) -> list[dict[str, Any]]:
        """What to try a parameter with: a value other than the default, and what it needs beside it. May be empty."""
        if parameter in cls.values:
            return [dict(cls.values[parameter])]
        declared = cls.declared(algorithm)
        companions = {**COMPANIONS.get(parameter, {}), **cls.beside.get(parameter, {})}
        beside = {name: value for name, value in companions.items() if name in declared}
        default = cls.resolved(algorithm)[parameter]
        tried = []
        for value in candidates(declared[parameter], default):
            trial = {**beside, parameter: value}
            try:
                cls.resolved(algorithm, **trial)
            except UserError:
                continue
            tried.append(trial)
        return tried

    @classmethod
    def refusal(cls, algorithm: str, values: Mapping[str, Any], parameter: str) -> str:
        """Why the backend refuses a parameter among others; empty where it does not."""
        try:
            found = cls.translated(algorithm, **values)
        except UserError as error:
            return str(error) if parameter in str(error) else ""
        item = item_of(found, parameter)
        return item.note if item and item.how == "refused" else ""

    # Fixtures.

    @pytest.fixture(scope="class")
    @classmethod
    def loads(cls) -> None:
        """Skip where the plugin does not load: that is a check of its own, and all others would only say it again."""
        try:
            cls.made()
        except Exception as error:
            pytest.skip(f"{cls.backend} cannot be loaded: {error}")

    @pytest.fixture(scope="class")
    @classmethod
    def translates(cls, loads: None) -> None:
        """Skip where the backend has no translation."""
        if not issubclass(cls.kind(), FrameworkBackend):
            pytest.skip(f"{cls.backend} is a plain Backend: it has execute_training and no translation")

    @pytest.fixture(scope="class")
    @classmethod
    def toy(cls, tmp_path_factory: pytest.TempPathFactory) -> Toy:
        return make_toy(tmp_path_factory.mktemp("toy"))

    @pytest.fixture(scope="class")
    @classmethod
    def runs(cls, loads: None, toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
        """Runs in the environment that the author says; skip where the backend is not available even there."""
        with cls.environment():
            names = cls.checked_algorithms()
            usable = AlgorithmRegistry.get_backend(names[0], cls.backend)() if names else cls.made()
            found = usable.availability()
            if not found.available:
                pytest.skip(f"{cls.backend} is not available here: {found.reason}")
            yield Runs(cls, tmp_path_factory.mktemp("runs"), toy)

    @pytest.fixture
    def trained(self, translates: None, runs: Runs, algorithm: str) -> Trained:
        """The main run; skip where it failed, which is a check of its own."""
        trainable(type(self), algorithm)
        found = runs.ready(algorithm, "main")
        if found is None:
            pytest.skip(f"{algorithm} did not train: see test_a_run_completes[{algorithm}]")
        return found


@cache
def _kind(backend: str) -> type[Backend]:
    if backend not in discovery.installed():
        raise LookupError("it is not installed")
    return discovery.load(backend).backends[backend]


def _first_value(subject: type[Subject], parameter: Parameter) -> Any:
    said = subject.values.get(parameter.name, {})
    return said.get(parameter.name, next(iter(candidates(parameter, None)), None))


def trainable(subject: type[Subject], algorithm: str) -> None:
    """Skip an algorithm that nobody has given rows for."""
    if algorithm not in LEARN_ROWS and subject.rows(algorithm) is None:
        pytest.skip(
            f"{algorithm}: the kit has rows for {', '.join(LEARN_ROWS)}; give this one's in `rows` of the test class"
        )


def first_trainable(subject: type[Subject], *, of: tuple[str, ...] | None = None) -> str:
    """The first algorithm that can be trained; skip where there is none.

    Args:
        subject: The test class.
        of: Of these alone.
    """
    names = subject.checked_algorithms()
    for name in names:
        if (of is None or name in of) and (name in LEARN_ROWS or subject.rows(name) is not None):
            return name
    if not names:
        pytest.skip("the backend's algorithms are not known: see test_its_plugin_loads")
    pytest.skip(f"none of {', '.join(names)} is one that the kit has rows for")


def run_of(runs: Runs, algorithm: str, kind: str) -> Trained:
    """A run; skip where the backend says that it cannot."""
    try:
        return runs.make(algorithm, kind)
    except NotPossibleError as error:
        pytest.skip(str(error))


def item_of(translation: Translation, parameter: str) -> Item | None:
    """What became of a parameter."""
    return next((item for item in translation.items if item.parameter == parameter), None)


def _unknown(count: int) -> Any:
    reason = "the backend's algorithms are not known: see test_its_plugin_loads"
    return pytest.param(*[""] * count, marks=pytest.mark.skip(reason=reason), id="unknown")
