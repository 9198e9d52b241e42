"""Callbacks that run in the processes that train: sent as data, called there, heard here."""

import logging
import math
import sys

import pytest

from training_hub import TrainingHubCallback, sft
from training_hub.errors import CallbackError, ParameterError
from training_hub.store.checkpoints import newest
from training_hub.store.events import read_events
from training_hub.testing.on_ranks import RankNotes, notes_of_ranks

MODULE = """
from training_hub import TrainingHubCallback


class Ranked(TrainingHubCallback):
    run_on_all_ranks = True


class Breaks(Ranked):
    def on_log(self, context):
        if context.step == 3:
            raise ZeroDivisionError("by me")


class Saves(Ranked):
    def on_train_begin(self, context):
        context.save()


class Hurries(Ranked):
    def on_train_begin(self, context):
        context.set_learning_rate(1.0)


class Counts(Ranked):
    def __init__(self):
        self.seen = []

    def on_log(self, context):
        self.seen.append(context.step)
        if len(self.seen) == 400:
            context.emit("warning", step=context.step, message="seen all")


class Tells(Ranked):
    def __init__(self, kept):
        self.kept = kept

    def on_train_begin(self, context):
        context.emit("warning", message=repr(self.kept))


class Outer:
    class Inner(Ranked):
        pass
"""


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A module that this process finds, and no other one."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "callbacks_of_mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path / "mine")
    import callbacks_of_mine

    yield callbacks_of_mine
    del sys.modules["callbacks_of_mine"]


def told(job, kind):
    return [event for event in read_events(job["ckpt_output_dir"] / "events.jsonl") if event["event"] == kind]


def test_it_is_called_where_training_is_done_and_can_stop_it(job, tmp_path):
    result = sft(**job, callbacks=[RankNotes(str(tmp_path), stops=True)])
    assert result.state == "stopped" and result.metrics["step"] < 400
    [asked] = told(job, "ask")
    assert (asked["what"], asked["reason"], asked["rank"], asked["step"]) == ("stop", RankNotes.REASON, 0, 0)
    [notes] = notes_of_ranks(tmp_path)
    assert [call["step"] for call in notes if call["hook"] == "on_step_end"] == list(
        range(1, result.metrics["step"] + 1)
    )
    assert [notes[0]["hook"], notes[-1]["hook"]] == ["on_train_begin", "on_train_end"]
    assert all(call["main"] and call["model"] == "str" for call in notes)


def test_it_can_save_and_asks_only_for_what_the_backend_can(job, written):
    sft(**job, callbacks=written.Saves())
    assert newest(job["ckpt_output_dir"]).step < 400
    with pytest.raises(
        CallbackError, match=r"Hurries\.on_train_begin raised CallbackError on rank 0: set_learning_rate"
    ):
        sft(**job, overwrite_output_dir=True, callbacks=written.Hurries())


def test_each_rank_has_a_copy_whose_state_is_its_own(job, written):
    counts = written.Counts()
    sft(**job, callbacks=counts)
    assert counts.seen == [] and [event["message"] for event in told(job, "warning")] == ["seen all"]


def test_one_that_raises_stops_the_run_with_its_traceback(job, written):
    with pytest.raises(CallbackError, match=r"Breaks\.on_log raised ZeroDivisionError on rank 0: by me") as raised:
        sft(**job, callbacks=written.Breaks())
    assert "callbacks_of_mine.py" in str(raised.value.__cause__) and "in on_log" in str(raised.value.__cause__)
    assert newest(job["ckpt_output_dir"]).resumable
    [error] = told(job, "callback_error")
    assert (error["callback"], error["hook"], error["step"]) == ("Breaks", "on_log", 3)


def test_one_that_raises_only_warns_where_that_is_asked(job, written, caplog):
    with caplog.at_level(logging.WARNING, "training_hub"):
        result = sft(**job, callbacks=written.Breaks(), callback_errors="warn")
    assert result.state == "completed" and "by me" in caplog.text and "in on_log" in caplog.text


class Everywhere(TrainingHubCallback):
    run_on_all_ranks = True


def refused(job, callback, said):
    with pytest.raises(ParameterError, match=said):
        sft(**job, callbacks=[callback])
    assert not job["ckpt_output_dir"].exists()


def test_a_class_that_others_cannot_import_is_refused_with_the_reason(job, monkeypatch):
    class Local(Everywhere):
        pass

    refused(job, Local(), r"made in a function \(.*<locals>\.Local\)")
    monkeypatch.setattr(Everywhere, "__module__", "__main__")
    refused(job, Everywhere(), "Everywhere has run_on_all_ranks=True, .* __main__ has no Everywhere")
    monkeypatch.setattr(Everywhere, "__module__", "json")
    refused(job, Everywhere(), "json has no Everywhere")


def test_a_module_that_the_processes_do_not_find_is_refused(job, written, monkeypatch):
    elsewhere = job | {"backend": "elsewhere"}
    refused(elsewhere, written.Breaks(), "every rank imports callbacks_of_mine, and .* there is no such module")
    monkeypatch.setenv("PYTHONPATH", written.__file__.rpartition("/")[0])
    with pytest.raises(Exception) as raised:
        sft(**elsewhere | {"data_path": "nowhere"}, callbacks=written.Outer.Inner())
    assert "nowhere" in str(raised.value)


def test_attributes_arrive_as_they_are(job, written):
    kept = ["NaN", -math.inf, 0.1, 3, True, None, {"": []}]
    sft(**job, callbacks=written.Tells(kept))
    assert [event["message"] for event in told(job, "warning")] == [repr(kept)]


@pytest.mark.parametrize("value", [(1, 2), {1: "a"}, {"a": object()}, [b"x"], {3}])
def test_an_attribute_that_json_does_not_have_is_refused_by_name(job, written, value):
    callback = written.Breaks()
    callback.kept = value
    refused(job, callback, r"sent as JSON, and kept, a \w+: ")


def test_a_backend_that_calls_none_there_says_so(job, written):
    refused(job | {"backend": "unsteered"}, written.Breaks(), "the unsteered backend calls no callbacks in the proc")
