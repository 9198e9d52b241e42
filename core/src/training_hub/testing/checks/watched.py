"""What the plugin did when it was loaded and translated in a process of its own, shared by two themes of checks."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from training_hub.testing.checks.subject import PLACES, Subject
from training_hub.testing.watch import Stage, watch


class Watched(Subject):
    """The fixture `stages`."""

    @pytest.fixture(scope="class")
    @classmethod
    def stages(cls, loads: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Stage]:
        """What each stage did, translations of defaults and of every parameter's other values included."""
        asked = {
            name: [request for request in _requests(cls, name) if _is_plain(request)]
            for name in cls.checked_algorithms()
        }
        return watch(cls.backend, asked, tmp_path_factory.mktemp("watched"), dict(os.environ))


def stage_of(stages: dict[str, Stage], name: str) -> Stage:
    """A stage; skip where an earlier one has ended with an error."""
    if name not in stages:
        last, stage = list(stages.items())[-1]
        pytest.skip(f"{name} was not reached: {last} ended with {stage.error or 'nothing further to do'}")
    return stages[name]


def _requests(subject: type[Subject], algorithm: str) -> list[dict[str, Any]]:
    base = {**PLACES, **subject.needed(algorithm)}
    parameters = subject.declared(algorithm)
    return [base, *(base | trial for name in parameters for trial in subject.trials(algorithm, name))]


def _is_plain(request: dict[str, Any]) -> bool:
    try:
        json.dumps(request)
    except TypeError:
        return False
    return True
