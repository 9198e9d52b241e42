"""What can be seen and steered of a run while it trains, and that a stopped one goes on to the same end."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest

from training_hub.backends.base import FrameworkBackend
from training_hub.store.checkpoints import complete
from training_hub.store.events import SCHEMA, live_events
from training_hub.testing.checks.subject import Subject, run_of
from training_hub.testing.on_ranks import RankNotes, notes_of_ranks
from training_hub.testing.runs import STEADY_STEPS, Recorder, Runs, Trained

_BEFORE = ("warning", "protection")
"""What may be told before training starts."""


class Continuity(Subject):
    """Checks of events, callbacks, stopping and resuming."""

    @pytest.fixture
    def stopped(self, trained: Trained, runs: Runs, algorithm: str) -> Trained:
        """A run that a callback has asked to stop as soon as it had begun."""
        kind = self.kind()
        assert issubclass(kind, FrameworkBackend)
        if "stop" not in kind.controls:
            pytest.skip(f"{self.backend} cannot be stopped while it trains: its `controls` are {sorted(kind.controls)}")
        return run_of(runs, algorithm, "stopped")

    def test_the_events_tell_the_whole_run(self, trained: Trained) -> None:
        kinds = [event["event"] for event in trained.events if event["event"] not in _BEFORE]
        assert kinds[0] == "start" and kinds[-1] == "end", f"the events are {kinds}"
        [start], [end] = trained.of_kind("start"), trained.of_kind("end")
        assert start.get("schema") == SCHEMA, f"the event `start` says schema={start.get('schema')!r}"
        assert end.get("state") == "completed"
        told = [(event.get("epoch"), event.get("step")) for event in trained.of_kind("epoch")]
        steps = trained.steps
        whole = [(round(s["epoch"]), s["step"]) for s in steps if math.isclose(s["epoch"], round(s["epoch"]))]
        assert told == whole, f"events `epoch` tell of {told}; the steps end epochs at {whole}"
        for name in ("step", "save"):
            at = [event["step"] for event in trained.of_kind(name)]
            assert at == sorted(at), f"events `{name}` are not in order: {at}"

    def test_callbacks_see_and_stop_the_run(self, stopped: Trained) -> None:
        _told_in_order(stopped)
        stops = stopped.of_kind("stop")
        assert len(stops) == 1, f"the run has {len(stops)} events `stop`"
        [stop] = stops
        last = stopped.steps[-1]["step"]
        assert last < STEADY_STEPS, "the run went on to its end"
        assert stop.get("step") == last and stop.get("reason") == Recorder.REASON
        assert stopped.result.state == "stopped" and stopped.manifest["state"] == "stopped"
        saved = stopped.directory / f"checkpoint-{last}"
        assert stopped.result.checkpoint == saved, f"the result's checkpoint is {stopped.result.checkpoint}"
        found = complete(saved)
        assert found is not None and found.step == last, f"{saved} is not complete"
        assert found.resumable, f"{saved} cannot be resumed from"
        assert not (stopped.directory / "final").exists(), "a run that was stopped has no final model"

    def test_a_stopped_run_goes_on_to_the_same_end(self, stopped: Trained, runs: Runs, algorithm: str) -> None:
        if stopped.result.state != "stopped":
            pytest.skip("the run did not stop: see test_callbacks_see_and_stop_the_run")
        stopped_at = stopped.steps[-1]["step"]
        steady, resumed = (run_of(runs, algorithm, kind) for kind in ("steady", "resumed"))
        again = [event for event in resumed.of_kind("start") if event.get("resumed_from") is not None]
        assert [event["resumed_from"] for event in again] == [stopped_at], "the event `start` names another step"
        steps = [event for event in live_events(resumed.events) if event["event"] == "step"]
        assert [event["step"] for event in steps] == list(range(1, STEADY_STEPS + 1))
        for name, allowed in (("loss", self.same_loss()), ("learning_rate", 1e-9)):
            wanted = [event[name] for event in steady.steps]
            assert [event[name] for event in steps] == pytest.approx(wanted, abs=allowed), (
                f"{name} of each step, stopped after step {stopped_at} and resumed, and of a run that went through"
            )
        assert [event["tokens"] for event in steps] == [event["tokens"] for event in steady.steps]
        assert resumed.result.state == "completed" and (resumed.directory / "final").is_dir()

    def test_callbacks_run_on_every_rank(self, trained: Trained, runs: Runs, algorithm: str) -> None:
        kind = self.kind()
        assert issubclass(kind, FrameworkBackend)
        if not kind.callbacks_on_ranks:
            pytest.skip(f"{self.backend} calls no callbacks in the processes that train: `callbacks_on_ranks` is False")
        run = run_of(runs, algorithm, "ranks")
        [start] = run.of_kind("start")
        notes = notes_of_ranks(Path(run.asked["callbacks"].directory))
        assert len(notes) == start["world_size"], f"callbacks were called on {len(notes)} ranks"
        for rank, noted in enumerate(notes):
            assert all(call["main"] == (rank == 0) for call in noted), f"rank {rank}: is_main_process"
            assert all(call["model"] != "NoneType" and call["tokenizer"] for call in noted), (
                f"rank {rank}: the context has no model, or no tokenizer"
            )
        calls = [[(call["hook"], call["step"], call["loss"]) for call in noted] for noted in notes]
        assert all(called == calls[0] for called in calls), f"the ranks were called differently: {calls}"
        assert calls[0][0][0] == "on_train_begin" and calls[0][-1][0] == "on_train_end", f"the calls are {calls[0]}"
        ends = [(step, loss) for hook, step, loss in calls[0] if hook == "on_step_end"]
        assert ends == list(zip([event["step"] for event in run.steps], run.losses, strict=True))
        if "stop" in kind.controls:
            # That the run then stops is a check of its own.
            asked = [(event["what"], event["reason"], event["rank"]) for event in run.of_kind("ask")]
            assert asked == [("stop", RankNotes.REASON, len(notes) - 1)], f"the events `ask` are {asked}"


def _told_in_order(stopped: Trained) -> None:
    recorder = stopped.asked["callbacks"]
    assert isinstance(recorder, Recorder)
    calls = [call for call in recorder.calls if call[0] not in ("on_save", "on_evaluate")]
    assert calls[0][0] == "on_train_begin" and calls[-1][0] == "on_train_end", f"the calls are {calls}"
    ends = [step for hook, step in calls if hook == "on_step_end"]
    assert ends == [event["step"] for event in stopped.steps], "on_step_end is called once for each event `step`"
    assert ends == list(range(1, len(ends) + 1))
    for (hook, step), (following, next_step) in pairwise(calls):
        if hook == "on_step_begin":
            assert (following, next_step) == ("on_step_end", step + 1), f"after {hook}({step}): {following}"
