"""Callbacks run in the caller's process, see every step in order, and can stop a run, save, or refuse to."""

import ctypes
import json
import logging
import os
import signal
import threading
import time

import pytest

from training_hub import AlgorithmRegistry, TrainingHubCallback, sft
from training_hub.errors import CallbackError, OutputDirectoryError, ResumeError, RunFormatError
from training_hub.execution.dispatch import QUEUE
from training_hub.execution.signals import PATIENCE
from training_hub.store.checkpoints import SEAL, checkpoint_path, checkpoints, complete, make_room, newest, seal
from training_hub.store.events import EventLog, live_events, read_events


def manifest(result_or_path):
    return json.loads((result_or_path / "run.json").read_text())


def steps(directory):
    return [event["step"] for event in live_events(read_events(directory / "events.jsonl")) if event["event"] == "step"]


def test_a_callback_keeps_its_state_and_stops_the_run(job):
    class StopWhenGood(TrainingHubCallback):
        def __init__(self, target):
            self.target, self.seen, self.thread = target, [], None

        def on_log(self, context):
            self.seen.append((context.step, context.loss))
            self.thread = threading.current_thread().name
            if context.loss < self.target:
                context.stop("good enough")

    callback = StopWhenGood(0.1)
    result = sft(**job, callbacks=[callback])
    last = result.metrics["step"]
    assert 11 <= last < 400
    assert callback.seen == [(step, 1 / step) for step in range(1, last + 1)]
    assert callback.thread == "training-hub-callbacks"
    assert (result.state, result.checkpoint.name) == ("stopped", f"checkpoint-{last}")
    found = manifest(result.run_dir)
    assert (found["state"], found["cause"]) == ("stopped", "good enough")
    assert found["parameters"]["callbacks"]["value"] == [
        "test_a_callback_keeps_its_state_and_stops_the_run.<locals>.StopWhenGood"
    ]


def test_every_hook_is_called_in_order(job):
    class Notes(TrainingHubCallback):
        def __init__(self):
            self.calls = []

        def __getattribute__(self, name):
            if not name.startswith("on_"):
                return super().__getattribute__(name)
            return lambda context: self.calls.append((name, context.step))

    notes = Notes()
    result = sft(**job, callbacks=notes)
    last = result.metrics["step"]
    wanted = [("on_train_begin", 0)]
    for step in range(1, last + 1):
        if step % 100 == 1:
            wanted.append(("on_epoch_begin", step - 1))
        wanted += [("on_step_begin", step - 1), ("on_step_end", step), ("on_log", step)]
        if step % 100 == 0:
            wanted.append(("on_epoch_end", step))
    assert notes.calls == [*wanted, ("on_train_end", last)]


def test_a_callback_that_raises_stops_the_run_with_a_checkpoint_and_its_own_error(job):
    class Breaks(TrainingHubCallback):
        def on_log(self, context):
            raise ZeroDivisionError("by me")

    class After(TrainingHubCallback):
        told = 0

        def on_log(self, context):
            self.told += 1

    after = After()
    with pytest.raises(CallbackError, match=r"Breaks\.on_log raised ZeroDivisionError: by me") as raised:
        sft(**job, callbacks=[Breaks(), after])
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    assert after.told == 0
    saved = newest(job["ckpt_output_dir"])
    assert saved.resumable and str(saved.path) in str(raised.value)


def test_a_callback_that_raises_only_warns_where_that_is_asked(job, caplog):
    class Breaks(TrainingHubCallback):
        def on_train_begin(self, context):
            raise ZeroDivisionError("by me")

    with caplog.at_level(logging.WARNING, "training_hub"):
        result = sft(**job, callbacks=Breaks(), callback_errors="warn")
    assert result.state == "completed" and "by me" in caplog.text


def test_what_a_backend_cannot_do_is_refused_when_a_callback_asks(job):
    class Asks(TrainingHubCallback):
        def on_train_begin(self, context):
            context.stop()

    with pytest.raises(CallbackError, match=r"stop\(\): the unsteered backend cannot do that while it trains"):
        sft(**job | {"backend": "unsteered"}, callbacks=[Asks()])


def test_training_waits_for_callbacks_that_are_too_far_behind(job):
    reached, go_on = [], threading.Event()

    class Slow(TrainingHubCallback):
        def on_log(self, context):
            if context.step == 1:
                path = job["ckpt_output_dir"] / "events.jsonl"
                ended = threading.Event()
                # Long enough for all 400 steps, were nothing to hold them.
                ended.wait(3)
                reached.append(max(steps_now(path)))
                go_on.set()

    def steps_now(path):
        return [event["step"] for event in read_events(path) if event["event"] == "step"]

    result = sft(**job, callbacks=Slow())
    assert QUEUE <= reached[0] < 400 and result.metrics["step"] == 400


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_a_checkpoint_and_ends(job, number):
    class Interrupts(TrainingHubCallback):
        def on_log(self, context):
            if context.step == 5:
                os.kill(os.getpid(), number)

    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    if number == signal.SIGINT:
        assert sft(**job, callbacks=Interrupts()).state == "stopped"
    else:
        with pytest.raises(SystemExit) as ended:
            sft(**job, callbacks=Interrupts())
        assert ended.value.code == 143
    found = manifest(job["ckpt_output_dir"])
    assert (found["state"], found["cause"]) == ("stopped", number.name)
    assert newest(job["ckpt_output_dir"], resumable=True)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


def test_a_second_signal_ends_at_once(job):
    class Interrupts(TrainingHubCallback):
        def on_train_begin(self, context):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit):
        sft(**job, callbacks=Interrupts())
    assert manifest(job["ckpt_output_dir"])["state"] == "interrupted"


@pytest.mark.parametrize("count", [1, 2])
def test_a_run_that_waits_in_a_library_ends_by_the_second_signal(job, monkeypatch, count):
    """As one that waits for ranks that nobody started: Python hears of no signal there."""

    class Waits(AlgorithmRegistry._backends["sft", "counting"]):
        controls = frozenset({"stop"} if count == 2 else ())

        def train(self, run):
            run.events.emit("step", step=1)
            locked = ctypes.create_string_buffer(256)
            ctypes.CDLL(None).pthread_mutex_lock(locked)
            ctypes.CDLL(None).pthread_mutex_lock(locked)

    monkeypatch.setitem(AlgorithmRegistry._backends, ("sft", "waits"), Waits)
    process = os.fork()
    if not process:
        sft(**job | {"backend": "waits"})
    told = job["ckpt_output_dir"] / "events.jsonl"
    while not (told.exists() and '"step"' in told.read_text()):
        time.sleep(0.05)
    for _ in range(count):
        assert os.waitpid(process, os.WNOHANG) == (0, 0)
        os.kill(process, signal.SIGINT)
        time.sleep(0.2)
    began = time.monotonic()
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 130
    assert time.monotonic() - began < 3 * PATIENCE
    found = manifest(job["ckpt_output_dir"])
    assert (found["state"], found["cause"]) == ("interrupted", "SIGINT")


def test_a_backend_that_cannot_stop_is_ended_by_the_first_signal(job):
    class Interrupts(TrainingHubCallback):
        def on_train_begin(self, context):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        sft(**job | {"backend": "unsteered"}, callbacks=Interrupts())
    assert manifest(job["ckpt_output_dir"])["state"] == "interrupted"


def test_two_runs_cannot_share_a_directory(job):
    errors = []

    class Again(TrainingHubCallback):
        def on_train_begin(self, context):
            try:
                sft(**job, overwrite_output_dir=True)
            except OutputDirectoryError as error:
                errors.append(str(error))
            context.stop()

    sft(**job, callbacks=Again())
    assert len(errors) == 1 and "a run is under way there" in errors[0] and str(os.getpid()) in errors[0]
    assert not (job["ckpt_output_dir"] / ".lock").exists()


def test_a_stopped_run_goes_on_where_it_was_stopped(job, stop_at):
    out = job["ckpt_output_dir"]
    first = sft(**job, callbacks=stop_at(50))
    at = first.metrics["step"]
    # As a crash leaves them: a line cut off, a checkpoint without its seal, one that has lost a file.
    with (out / "events.jsonl").open("a") as stream:
        stream.write('{"event": "step", "step": 399')
    torn, hollow = checkpoint_path(out, 398), checkpoint_path(out, 399)
    torn.mkdir()
    (torn / "weights").write_text("398")
    hollow.mkdir()
    (hollow / "weights").write_text("399")
    seal(hollow, 399, resumable=True)
    (hollow / "weights").unlink()

    result = sft(**job, resume=True)
    assert result.state == "completed" and steps(out) == list(range(1, 401))
    starts = [event for event in read_events(out / "events.jsonl") if event["event"] == "start"]
    assert [event["resumed_from"] for event in starts] == [None, at]
    assert not torn.exists() and not hollow.exists()
    found = manifest(out)
    assert found["state"] == "completed" and found["resumed"][0]["state"] == "stopped"


def test_a_completed_run_is_not_resumed(job):
    sft(**job, callbacks=[])
    with pytest.raises(ResumeError, match="has completed"):
        sft(**job, resume=True)


def test_resume_true_starts_a_run_where_there_is_none(job):
    assert sft(**job, resume=True).state == "completed"


def test_a_node_that_does_not_see_the_first_ones_run_starts_no_new_one(job, stop_at):
    second = {**job, "nnodes": 2, "node_rank": 1, "master_addr": "first"}
    sft(**second, callbacks=stop_at(3))
    with pytest.raises(ResumeError, match="ckpt_output_dir must be on a disk that all of them see"):
        sft(**second, resume=True)


def test_another_runs_checkpoint_is_gone_on_with_elsewhere(job, tmp_path, stop_at):
    first = sft(**job, callbacks=stop_at(50))
    elsewhere = job | {"ckpt_output_dir": tmp_path / "näch ste"}
    for source in (first.run_dir, first.checkpoint):
        result = sft(**elsewhere, resume=source, overwrite_output_dir=True)
        assert result.run_dir == tmp_path / "näch ste"
        assert steps(result.run_dir)[0] == first.metrics["step"] + 1
    assert steps(first.run_dir)[-1] == first.metrics["step"]


def test_a_resume_with_something_else_is_refused_unless_allowed(job, stop_at):
    sft(**job, learning_rate=1e-4, callbacks=stop_at(20))
    with job["data_path"].open("a") as stream:
        stream.write(job["data_path"].read_text())
    with pytest.raises(ResumeError) as raised:
        sft(**job, learning_rate=1e-3, resume=True)
    said = str(raised.value)
    assert "learning_rate: it was 0.0001, and is 0.001" in said and "data: it was" in said
    assert "resume_changes=['learning_rate', 'data']" in said
    with pytest.raises(ResumeError, match=r"resume_changes=\['data'\]"):
        sft(**job, learning_rate=1e-3, resume=True, resume_changes=["learning_rate"])
    assert sft(**job, learning_rate=1e-3, resume=True, resume_changes=["learning_rate", "data"]).state == "completed"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"schema": 99}', "this version reads up to schema 1"),
    ],
)
def test_a_manifest_that_cannot_be_read(job, text, said, stop_at):
    sft(**job, callbacks=stop_at(20))
    (job["ckpt_output_dir"] / "run.json").write_text(text)
    with pytest.raises(RunFormatError, match=said):
        sft(**job, resume=True)


@pytest.mark.parametrize("resume", ["nowhere", "model"])
def test_a_place_that_holds_no_run(job, tmp_path, resume):
    with pytest.raises(ResumeError, match=r"no such directory|not a complete checkpoint"):
        sft(**job, resume=tmp_path / resume)


def test_a_checkpoint_of_another_size_than_its_seal_says_is_not_complete(tmp_path):
    for step in (1, 2):
        checkpoint_path(tmp_path, step).mkdir()
        (checkpoint_path(tmp_path, step) / "weights").write_text("12345")
        seal(checkpoint_path(tmp_path, step), step, resumable=True, tokens=7)
    assert complete(checkpoint_path(tmp_path, 2)).facts == {"tokens": 7}
    (checkpoint_path(tmp_path, 2) / "weights").write_text("123")
    assert newest(tmp_path).step == 1


def test_room_is_made_by_complete_checkpoints_alone(tmp_path):
    for step in (1, 2, 3, 4):
        checkpoint_path(tmp_path, step).mkdir()
        (checkpoint_path(tmp_path, step) / "weights").write_text("x")
        if step != 4:
            seal(checkpoint_path(tmp_path, step), step, resumable=True)
    make_room(tmp_path, 1, spared={1})
    assert [found.step for found in checkpoints(tmp_path)] == [1, 3]
    assert checkpoint_path(tmp_path, 4).exists() and not (checkpoint_path(tmp_path, 4) / SEAL).exists()


def test_a_line_after_one_that_was_cut_off_is_read(tmp_path):
    log = EventLog(tmp_path / "events.jsonl")
    log.emit("step", step=1)
    with log.path.open("a") as stream:
        stream.write('{"event": "st')
    log.mend()
    log.emit("step", step=2)
    assert [event["step"] for event in read_events(log.path)] == [1, 2]
