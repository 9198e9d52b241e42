"""The contract tried on each example backend; `test_contract.py` runs this in a process of its own."""

from functools import cache
from typing import ClassVar

import pytest
import torch
from contract_example import installed
from contract_example.backend import words

from training_hub.plugins import discovery
from training_hub.testing import BackendContract
from training_hub.testing.checks.bad_input import BadInput
from training_hub.testing.checks.continuity import Continuity
from training_hub.testing.checks.coverage import Coverage
from training_hub.testing.checks.metadata import Metadata
from training_hub.testing.checks.processes import Processes
from training_hub.testing.checks.purity import Purity
from training_hub.testing.checks.training import Training
from training_hub.testing.checks.translation import Translates
from training_hub.testing.reference import measure
from training_hub.testing.runs import make_toy

# Listing reads the metadata of all fifty examples, over and over; nothing is installed while this runs.
discovery.installed = cache(discovery.installed)
# One thread, so that a process alone and one of two do the same sums in the same order.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def one_toy(tmp_path_factory):
    return make_toy(tmp_path_factory.mktemp("toy"))


class OneToy:
    """With one toy for all, and measured in this process; both are only quicker."""

    @pytest.fixture(scope="class")
    @classmethod
    def toy(cls, one_toy):
        return one_toy

    @classmethod
    def measure(cls, toy, models, directory):
        return measure(toy.model, toy.rows, models)


class Quick(OneToy, BackendContract):
    """Everything."""


class BeforeARun(OneToy, Metadata, Coverage, Translates, Purity, BadInput):
    """For a backend that breaks a promise of these, and trains as the honest one does, which is tried already."""


class ARun(OneToy, Metadata, Coverage, Training, Continuity, BadInput):
    """For one that breaks a promise of these, and translates as the honest one does."""


class OfSeveralProcesses(OneToy, Metadata, Coverage, Processes):
    """For one that breaks a promise of these, and trains alone as the honest one does."""


def parts(name):
    """What a backend is tried with: an honest one with everything, a broken one with the parts that it may break."""
    checks = installed.EXPECTED[name]
    some = (BeforeARun, ARun, OfSeveralProcesses) if checks else ()
    return next((part for part in some if all(hasattr(part, check) for check in checks)), Quick)


class TestHonestTwo(BackendContract):
    """As a plugin's author writes it."""

    backend = "HonestTwo"


class TestAbsent(Quick):
    backend = "Absent"
    unchecked: ClassVar = {"training": "there is no quantum computer here"}


class TestIsSilentlyUnavailable(Quick):
    backend = "IsSilentlyUnavailable"
    unchecked: ClassVar = {"training": "it says so, if not why"}


class TestOfItsOwn(Quick):
    backend = "OfItsOwn"
    unchecked: ClassVar = {"first loss of contract_repeating": "nothing here measures it"}

    @classmethod
    def rows(cls, algorithm):
        return words(20)


class TestKeepsAFigureToItself(TestOfItsOwn):
    backend = "KeepsAFigureToItself"
    unchecked: ClassVar = {"first loss of contract_promising": "nothing here measures it"}


class TestWaitsForTheDead(OfSeveralProcesses):
    backend = "WaitsForTheDead"
    patience = 5.0


for name in installed.NAMES:
    globals().setdefault(f"Test{name}", type(f"Test{name}", (parts(name),), {"backend": name, "__module__": __name__}))
