"""Callbacks that run in every process that trains, with the model, and leave training as it is without them."""

import json
import subprocess
import sys

import pytest

from training_hub import SampleGenerations, lora_sft, sft
from training_hub.errors import CallbackError, ParameterError
from training_hub.reading.report import write_report
from training_hub.store.checkpoints import newest
from training_hub.testing.on_ranks import RankNotes, notes_of_ranks

MODULE = """
import os

from training_hub import TrainingHubCallback

if os.environ.get("REFUSE") == os.environ.get("RANK", "none"):
    raise OSError("not on this rank")


class Ranked(TrainingHubCallback):
    run_on_all_ranks = True


class LastRank(Ranked):
    def __init__(self, does):
        self.does = does

    def on_train_begin(self, context):
        if context.rank == context.world_size - 1:
            getattr(self, self.does)(context)

    def saves(self, context):
        context.save()

    def slows(self, context):
        context.set_learning_rate(1e-5)

    def breaks(self, context):
        raise ZeroDivisionError("by me")
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module of the user's, which the workers find too."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "ranked_of_mine.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "mine"))
    monkeypatch.syspath_prepend(tmp_path / "mine")
    import ranked_of_mine

    return ranked_of_mine


@pytest.mark.parametrize(
    ("train", "own"),
    [
        (sft, {"nproc_per_node": 2}),
        # With dropout, so that a random number too many would be seen.
        (lora_sft, {"lora_r": 8, "lora_dropout": 0.1}),
    ],
    ids=["sft-2", "lora_sft-1"],
)
def test_every_rank_is_called_with_the_model_and_the_losses_stay_as_they_are(job, tmp_path, losses, events, train, own):
    plain, watched = ({**job, **own, "ckpt_output_dir": tmp_path / name} for name in ("plain", "watched"))
    train(**plain)
    samples = SampleGenerations(["Spell abc backwards.", [{"role": "user", "content": "Again."}]], 5, max_new_tokens=8)
    train(**watched, validation_split=0.0, callbacks=[RankNotes(str(tmp_path)), samples])
    out = tmp_path / "watched"
    assert losses(out) == losses(tmp_path / "plain")
    notes = notes_of_ranks(tmp_path)
    assert len(notes) == own.get("nproc_per_node", 1)
    assert [call["main"] for call in (rank[0] for rank in notes)] == [True, False][: len(notes)]
    for noted in notes:
        assert [call["loss"] for call in noted if call["hook"] == "on_log"] == losses(out)
        assert {call["model"] for call in noted} <= {"DistributedDataParallel", "PeftModelForCausalLM"}
    told = events(out, "samples")
    assert [event["step"] for event in told] == [0, 5, 10, 14]
    assert [sample["prompt"] for sample in told[0]["samples"]] == ["Spell abc backwards.", "user: Again."]


@pytest.mark.parametrize("processes", [1, 2])
def test_the_answers_show_what_the_model_learns(job, tmp_path, events, processes):
    row = {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}]}
    (tmp_path / "one.jsonl").write_text((json.dumps(row) + "\n") * 8)
    asked = job | {"data_path": tmp_path / "one.jsonl", "num_epochs": 60, "learning_rate": 5e-3}
    result = sft(**asked, nproc_per_node=processes, callbacks=SampleGenerations(["Who?"], every=30, max_new_tokens=6))
    first, _, last = ([s["completion"] for s in event["samples"]] for event in events(result.run_dir, "samples"))
    assert first != ["Me."] and last == ["Me."]
    page = write_report(result.run_dir).read_text()
    assert "Who?" in page and "Me." in page and "at step 60" in page


def test_what_the_last_rank_asks_for_is_done(job, mine, events):
    long = job | {"nproc_per_node": 2, "num_epochs": 10}
    result = sft(**long, callbacks=mine.LastRank("saves"))
    assert newest(result.run_dir).step < result.metrics["step"]
    [asked] = events(result.run_dir, "ask")
    assert (asked["what"], asked["rank"]) == ("save", 1)
    result = sft(**long, overwrite_output_dir=True, lr_scheduler="constant", callbacks=mine.LastRank("slows"))
    assert {event["learning_rate"] for event in events(result.run_dir, "step")} == {job["learning_rate"], 1e-5}


def test_what_it_raises_on_one_rank_stops_the_run_with_a_checkpoint(job, mine):
    with pytest.raises(
        CallbackError, match="LastRank.on_train_begin raised ZeroDivisionError on rank 1: by me"
    ) as raised:
        sft(**job | {"nproc_per_node": 2, "num_epochs": 10}, callbacks=mine.LastRank("breaks"))
    assert "in breaks" in str(raised.value.__cause__)
    saved = newest(job["ckpt_output_dir"])
    assert saved.resumable and str(saved.path) in str(raised.value)


def test_a_class_that_one_rank_cannot_import_is_refused_before_the_model_is_loaded(job, mine, monkeypatch):
    monkeypatch.setenv("REFUSE", "1")
    with pytest.raises(ParameterError, match="ranked_of_mine:LastRank cannot be imported .* OSError: not on this rank"):
        sft(**job, nproc_per_node=2, callbacks=mine.LastRank("saves"))
    assert not job["ckpt_output_dir"].exists()


def test_a_module_that_only_the_caller_finds_is_refused_at_once(job, mine, monkeypatch):
    monkeypatch.delenv("PYTHONPATH")
    with pytest.raises(ParameterError, match="every rank imports ranked_of_mine, .* there is no such module"):
        sft(**job, nproc_per_node=2, callbacks=mine.LastRank("saves"))
    assert not job["ckpt_output_dir"].exists()


SCRIPT = """
import sys

from training_hub import TrainingHubCallback, lora_sft

NAMES = ["first", "second"]


class Told(TrainingHubCallback):
    run_on_all_ranks = True

    def __init__(self, number):
        self.number = number

    def on_train_end(self, context):
        context.emit("warning", message=f"{NAMES[self.number]} on {context.rank}, {type(context.model).__name__}")


model, rows, out = sys.argv[1:]
lora_sft(model, rows, out, "trl", nproc_per_node=2, num_epochs=1, max_seq_len=128, callbacks=[Told(0), Told(1)])
"""


def test_classes_of_a_script_without_a_guard_run_on_both_ranks(model, rows, tmp_path, events):
    script, out = tmp_path / "script.py", tmp_path / "out"
    script.write_text(SCRIPT)
    subprocess.run([sys.executable, script, model, rows, out], check=True, timeout=300)
    assert len(events(out, "start")) == 1
    told = {event["message"] for event in events(out, "warning") if " on " in event["message"]}
    kind = "DistributedDataParallel"
    assert {f"{name} on {rank}, {kind}" for name in ("first", "second") for rank in (0, 1)} <= told
