"""The whole contract of a backend, as one test class."""

from __future__ import annotations

from training_hub.testing.checks.bad_input import BadInput
from training_hub.testing.checks.continuity import Continuity
from training_hub.testing.checks.coverage import Coverage
from training_hub.testing.checks.metadata import Metadata
from training_hub.testing.checks.processes import Processes
from training_hub.testing.checks.purity import Purity
from training_hub.testing.checks.training import Training
from training_hub.testing.checks.translation import Translates


class BackendContract(Metadata, Translates, Purity, Coverage, Training, Processes, Continuity, BadInput):
    """What users rely on, whichever backend trains.

    Inherit from it in a test module and name the backend; `Subject` says what else an author may set.

        class TestMine(BackendContract):
            backend = "mine"
    """
