"""For tests only: makes a backend that needs a GPU usable in this process, with its workers on the CPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from training_hub import AlgorithmRegistry, Availability
from training_hub.backends.devices import devices
from training_hub.plugins import discovery

HERE = Path(__file__).parent
NEEDS_CUDA: dict[str, dict[str, str]] = {"instructlab-training": {}, "mini-trainer": {"TESTING": "true"}}
"""Backends that train on a GPU alone, with the variables that their frameworks want elsewhere."""


def where_it_can(name: str, **variables: str) -> AbstractContextManager[None]:
    """While the block runs, the backend `name` trains: as it is, or where it needs a GPU that is not there, on the CPU.

    Args:
        name: The backend's name.
        **variables: Further environment variables for a run on the CPU by the stand-in.
    """
    stands_in = name in NEEDS_CUDA and devices().kind == "cpu"
    return on_cpu(name, **{**variables, **NEEDS_CUDA[name]}) if stands_in else nullcontext()


@contextmanager
def on_cpu(name: str, **variables: str) -> Iterator[None]:
    """While the block runs, the installed backend `name` is available here.

    A subclass of the plugin's own class, which differs in `availability` alone, is registered in front of it for each of
    its algorithms, and the environment tells the workers to use the stand-in. The plugin knows nothing of this.

    Args:
        name: The backend's name, as of its entry point.
        **variables: Further environment variables that the framework wants for such a run.
    """
    backend = discovery.load(name).backends[name]

    def availability(self: object) -> Availability:
        return Availability(True, "on the CPU, by the tests' stand-in for CUDA")

    stand_in = type(backend.__name__, (backend,), {"availability": availability, "__doc__": backend.__doc__})
    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    variables = {
        "PYTHONPATH": path,
        "TRAINING_HUB_CPU_DEVICE": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        **variables,
    }
    before = {variable: os.environ.get(variable) for variable in variables}
    os.environ.update(variables)
    try:
        with AlgorithmRegistry.registered(backends={(algorithm, name): stand_in for algorithm in backend.algorithms}):
            yield
    finally:
        for variable, value in before.items():
            if value is None:
                os.environ.pop(variable, None)
            else:
                os.environ[variable] = value
