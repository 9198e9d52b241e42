"""Translation is pure: `training-hub plan` and a misspelt keyword cost nothing, and change nothing."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from training_hub.testing.checks.watched import Watched, stage_of
from training_hub.testing.watch import Stage


class Purity(Watched):
    """Checks of what `translate` does besides."""

    def test_a_translation_is_the_same_twice(self, translates: None, algorithm: str) -> None:
        assert self.translated(algorithm) == self.translated(algorithm)

    def test_a_translation_is_plain_data(self, translates: None, algorithm: str) -> None:
        found = self.translated(algorithm)
        arguments = {owner: dict(values) for owner, values in found.arguments.items()}
        _plain("arguments", arguments)
        _plain("settings", [item.argument_value for item in found.settings])
        _plain("launch", asdict(found.launch) if found.launch else None)

    def test_translating_writes_no_file(self, translates: None, stages: dict[str, Stage]) -> None:
        _nothing(stage_of(stages, "translate").files, "writes")

    def test_translating_starts_no_process(self, translates: None, stages: dict[str, Stage]) -> None:
        _nothing(stage_of(stages, "translate").processes, "starts")

    def test_translating_opens_no_connection(self, translates: None, stages: dict[str, Stage]) -> None:
        _nothing(stage_of(stages, "translate").connections, "connects")

    def test_translating_imports_no_framework(self, translates: None, stages: dict[str, Stage]) -> None:
        _nothing(stage_of(stages, "translate").imports, "imports")


def _plain(what: str, value: Any) -> None:
    try:
        same = json.loads(json.dumps(value))
    except (TypeError, ValueError) as error:
        raise AssertionError(f"{what}: JSON cannot hold it: {error}") from error
    assert same == value, f"{what}: JSON does not give back what it was given"


def _nothing(found: list[str], does: str) -> None:
    # The same lines of code do it again and again, to files of other names.
    places = {entry.partition(" (from ")[2] or entry: entry for entry in reversed(found)}
    assert not found, f"translate() {does}:\n" + "\n".join(reversed(places.values()))
