"""A tracker that writes what it is told into a file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from typing_extensions import TypedDict

from training_hub.plugin import FilePath, Param, TrackedRun, Tracker, TrackerOutcome


class NotebookParameters(TypedDict, total=False):
    """Experiment trackers."""

    notebook_file: Annotated[FilePath | None, Param(None, "File to note the run in; turns that on.", caller=True)]


class Notebook(Tracker):
    """A line for each event."""

    name: ClassVar[str] = "notebook"
    title: ClassVar[str] = "the notebook"
    parameters: ClassVar[type] = NotebookParameters
    switch: ClassVar[str] = "notebook_file"
    variables: ClassVar[Mapping[str, str]] = {"notebook_file": "NOTEBOOK_FILE"}

    def begin(self, manifest: Mapping[str, Any], earlier: str | None) -> TrackedRun:
        self._file = Path(self.settings["notebook_file"])
        return TrackedRun(str(self._file), str(self._file))

    def receive(self, events: Sequence[dict[str, Any]]) -> None:
        with self._file.open("a", encoding="utf-8") as lines:
            lines.writelines(json.dumps(event) + "\n" for event in events)

    def end(self, outcome: TrackerOutcome) -> None:
        with self._file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"event": "outcome", "state": outcome.state}) + "\n")
