"""A run is stopped, saves on request and goes on where it was; one whose loss is none ends."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from minitrainer_runs import backend_on_cpu, events, losses
from safetensors.torch import load_file, save_file

from training_hub import TrainingHubCallback, TrainingHubContext, osft, sft
from training_hub.errors import NonFiniteLossError, ResumeError
from training_hub.store.checkpoints import checkpoints, complete
from training_hub.store.events import live_events, read_events


class StopAt(TrainingHubCallback):
    """Stops the run in the middle of an epoch of three steps."""

    def __init__(self, interrupt: bool = False) -> None:
        self.interrupt = interrupt
        self.asked = False

    def on_step_end(self, context: TrainingHubContext) -> None:
        if context.step >= 4 and not self.asked:
            self.asked = True
            if self.interrupt:
                os.kill(os.getpid(), signal.SIGINT)
            else:
                context.stop("enough")


def told(directory: Path) -> list[dict[str, Any]]:
    """The steps of a run that count."""
    return [event for event in live_events(read_events(directory / "events.jsonl")) if event["event"] == "step"]


SAME = ("step", "epoch", "loss", "learning_rate", "grad_norm", "tokens", "max_steps")


def figures(directory: Path) -> list[tuple[Any, ...]]:
    return [tuple(step[name] for name in SAME) for step in told(directory)]


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoint / "model.safetensors")


@pytest.mark.faults
@pytest.mark.parametrize(
    ("algorithm", "processes", "interrupt"), [("osft", 1, False), ("sft", 2, True)], ids=["osft", "sft-two"]
)
def test_a_stopped_run_goes_on_as_if_it_had_not_been(
    algorithm: str, processes: int, interrupt: bool, job: dict[str, Any], tmp_path: Path
) -> None:
    """Every figure of every later step, and the weights, are those of a run that was not stopped, to the last bit."""
    train = osft if algorithm == "osft" else sft
    out, damaged, whole = tmp_path / "out", tmp_path / "damaged", tmp_path / "whole"
    asked = job | {
        "num_epochs": 6,
        "effective_batch_size": 5,
        "warmup_steps": 10,
        "validation_split": 0.1,
        "validation_frequency": 4,
        "nproc_per_node": processes,
    }
    if algorithm == "osft":
        asked |= {"unfreeze_rank_ratio": 0.25, "checkpoint_at_epoch": True}
    else:
        asked |= {"save_best_val_loss": True, "keep_last_checkpoint_only": True}
    with backend_on_cpu():
        stopped = train(**asked | {"ckpt_output_dir": out}, callbacks=StopAt(interrupt))
        shutil.copytree(out, damaged)
        finished = train(**asked | {"ckpt_output_dir": out}, resume=True)
        uninterrupted = train(**asked | {"ckpt_output_dir": whole})
    [stop] = events(out, "stop")
    assert stopped.state == "stopped"
    assert stopped.checkpoint == out / f"checkpoint-{stop['step']}"
    assert stop["reason"] == ("SIGINT" if interrupt else "enough")
    assert not (damaged / "final").exists()
    assert (finished.state, finished.checkpoint) == ("completed", out / "final")
    assert [start["resumed_from"] for start in events(out, "start")] == [None, stop["step"]]
    assert figures(out) == figures(whole)
    live = live_events(read_events(out / "events.jsonl"))
    for kind, of in (("eval", "validation_loss"), ("epoch", "epoch")):
        found = [(event["step"], event[of]) for event in live if event["event"] == kind]
        assert found == [(event["step"], event[of]) for event in events(whole, kind)]
    after, expected = weights(out / "final"), weights(uninterrupted.checkpoint)
    assert all(torch.equal(after[name], expected[name]) for name in expected)
    assert {path.name for path in (out / "final").iterdir()} == {path.name for path in (whole / "final").iterdir()}

    if algorithm == "osft":
        # A checkpoint that was cut off does not count: the run goes on from the one before, at the end of an epoch.
        last = damaged / f"checkpoint-{stop['step']}"
        [part] = (last / "full_state").glob("*/distributed/__0_0.distcp")
        part.write_bytes(part.read_bytes()[:100])
        before = checkpoints(damaged)[-1].step
        assert before < stop["step"] and before % 3 == 0
        with backend_on_cpu():
            train(**asked | {"ckpt_output_dir": damaged}, resume=True)
        assert events(damaged, "start")[-1]["resumed_from"] == before
        assert figures(damaged) == figures(whole)
    else:
        with backend_on_cpu(), pytest.raises(ResumeError, match="saved by 2 processes.*give nproc_per_node=2"):
            train(
                **asked | {"nproc_per_node": 1, "ckpt_output_dir": tmp_path / "other"},
                resume=damaged,
                resume_changes=["nproc_per_node"],
            )


class AskForMuch(TrainingHubCallback):
    """Asks for a checkpoint and another learning rate; has the caller ended once the checkpoint is there."""

    def __init__(self) -> None:
        self.asked = False

    def on_step_end(self, context: TrainingHubContext) -> None:
        if not self.asked:
            self.asked = True
            context.set_learning_rate(5e-4)
            context.save()

    def on_save(self, context: TrainingHubContext) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_callback_saves_and_sets_the_learning_rate_and_sigterm_saves_too(job: dict[str, Any], cpu: None) -> None:
    out = job["ckpt_output_dir"]
    with pytest.raises(SystemExit) as ended:
        sft(**job | {"num_epochs": 500, "lr_scheduler": "constant"}, callbacks=AskForMuch())
    assert ended.value.code == 128 + signal.SIGTERM
    saved, last = events(out, "save")[0], events(out, "save")[-1]
    found = complete(Path(saved["checkpoint"]))
    assert found is not None and found.resumable and found.step == saved["step"]
    [stop] = events(out, "stop")
    assert (stop["reason"], stop["step"]) == ("SIGTERM", last["step"])
    rates = {event["step"]: event["learning_rate"] for event in events(out, "step")}
    assert rates[1] == 1e-3
    assert rates[saved["step"] + 1] == rates[stop["step"]] == 5e-4


def test_a_loss_that_is_no_number_ends_the_run_before_anything_is_saved(
    job: dict[str, Any], model: Path, tmp_path: Path, cpu: None
) -> None:
    broken, out = tmp_path / "broken", job["ckpt_output_dir"]
    shutil.copytree(model, broken)
    found = weights(broken)
    found["model.norm.weight"][0] = float("nan")
    save_file(found, broken / "model.safetensors", metadata={"format": "pt"})
    asked = job | {"model_path": broken, "effective_batch_size": 4, "num_epochs": 1, "checkpoint_at_epoch": True}
    with pytest.raises(NonFiniteLossError, match=r"the loss of step 1 is nan; its rows.*: \d+, \d+, \d+, \d+; lower"):
        sft(**asked)
    assert not list(out.glob("checkpoint-*")) and not (out / "final").exists()
    assert not events(out, "step")
    sft(**asked, on_nan="warn", overwrite_output_dir=True)
    assert [event["step"] for event in events(out, "warning")] == [1, 2, 3, 4]
    assert len(losses(out)) == 4
