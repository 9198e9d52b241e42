"""The framework's real training loop, on a CPU, through the hub's public API."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import reference
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from training_hub import TrainingFailedError, TrainingHubCallback, TrainingHubContext, TrainingResult, sft
from training_hub.errors import ModelError, NonFiniteLossError
from training_hub.store.checkpoints import complete
from training_hub.store.events import SCHEMA, Event, Follower, live_events, read_events
from training_hub.testing.killer import ranks

sys.path.insert(0, str(Path(__file__).parents[3] / "tests" / "models"))
from architectures import make

pytestmark = pytest.mark.slow
ADAM = {"learning_rate": 1e-3, "beta1": 0.8, "beta2": 0.95, "weight_decay": 0.1}


@pytest.fixture
def float32(cpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounding out of the way, so that what is left is what the framework does."""
    monkeypatch.setenv("TRAINING_HUB_CPU_FLOAT32", "1")


def run(model: Path, rows: Path, out: Path, **given: Any) -> TrainingResult:
    return sft(
        model_path=model,
        data_path=rows,
        ckpt_output_dir=out,
        backend="instructlab-training",
        **{"effective_batch_size": 6, "num_epochs": 2, "learning_rate": 1e-3, "max_seq_len": 256, **given},
    )


def events(out: Path, kind: str) -> list[Event]:
    return [event for event in read_events(out / "events.jsonl") if event["event"] == kind]


def column(out: Path, name: str) -> list[Any]:
    return [event[name] for event in events(out, "step")]


@pytest.mark.parametrize("processes", [1, 2])
def test_steps_and_validation_are_those_of_plain_pytorch(
    model: Path, rows: Path, tmp_path: Path, float32: None, processes: int
) -> None:
    # Sixteen rows less two for validation, six a step: the last step of an epoch has two rows. A forward pass holds
    # 120 tokens, so that rows of very different lengths make several, and not the same number for each process.
    result = run(
        model,
        rows,
        tmp_path / "out",
        nproc_per_node=processes,
        max_seq_len=100,
        max_tokens_per_gpu=120,
        validation_split=0.1,
        save_best_val_loss=True,
        save_samples=9,
        keep_last_checkpoint_only=True,
        **ADAM,
    )
    train, validation = reference.sides(model, rows, 0.1)
    wanted = reference.train(model, train, validation, batch=6, epochs=2, **ADAM)

    out = tmp_path / "out"
    assert column(out, "loss") == pytest.approx(wanted.losses, abs=1e-4)
    assert column(out, "grad_norm") == pytest.approx(wanted.grad_norms, rel=1e-3)
    assert column(out, "learning_rate") == pytest.approx(wanted.learning_rates)
    assert column(out, "tokens") == wanted.tokens
    assert column(out, "step") == [1, 2, 3, 4, 5, 6]
    assert column(out, "epoch") == pytest.approx([6 / 14, 12 / 14, 1, 20 / 14, 26 / 14, 2])
    assert {e["step"]: e["validation_loss"] for e in events(out, "eval")} == pytest.approx(wanted.validation, abs=1e-4)
    assert result.metrics["validation_loss"] == pytest.approx(wanted.validation[6], abs=1e-4)
    # Rows 9, 18 and 27 are reached in steps 2, 4 (20 rows) and 6 (28); the loss of validation falls at 3 and 6.
    assert [Path(e["checkpoint"]).name for e in events(out, "save")] == [
        "checkpoint-2",
        "checkpoint-3",
        "checkpoint-4",
        "checkpoint-6",
        "final",
    ]
    assert [path.name for path in out.glob("checkpoint-*")] == ["checkpoint-6"]
    assert result.checkpoint == out / "final"
    trained = AutoModelForCausalLM.from_pretrained(result.checkpoint)
    assert reference.mean_loss(trained, validation) == pytest.approx(wanted.validation[6], abs=1e-4)
    # The framework's own figure counts every process' tokens again; once this fails it has been mended.
    own = [json.loads(line) for line in next(out.glob("logs/instructlab/*.jsonl")).read_text().splitlines()]
    assert [line["val_loss"] * processes for line in own if "val_loss" in line] == pytest.approx(
        list(wanted.validation.values()), abs=1e-4
    )
    log = (out / "logs" / "processes.log").read_text()
    assert processes == 1 or "NO_SHARD" not in log


def test_a_checkpoint_is_as_the_base_model_was(model: Path, rows: Path, tmp_path: Path, cpu: None) -> None:
    base = tmp_path / "base"
    AutoModelForCausalLM.from_pretrained(model).to(torch.bfloat16).save_pretrained(base)
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(base)
    documents = tmp_path / "documents.jsonl"
    documents.write_text(
        "".join(json.dumps({"text": f"{n} and {n + 1} make {2 * n + 1}. " * 3}) + "\n" for n in range(12))
    )

    result = run(
        base, documents, tmp_path / "out", is_pretraining=True, block_size=64, num_epochs=5, learning_rate=3e-3
    )

    losses = column(tmp_path / "out", "loss")
    assert losses[-1] < losses[0] - 0.5
    assert result.checkpoint is not None
    with safe_open(result.checkpoint / "model.safetensors", framework="pt") as weights:
        assert {weights.get_tensor(name).dtype for name in weights.keys()} == {torch.bfloat16}  # noqa: SIM118
    assert AutoModelForCausalLM.from_pretrained(result.checkpoint).dtype == torch.bfloat16
    assert GenerationConfig.from_pretrained(result.checkpoint).top_k == 7
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert _without_place(result.checkpoint / name) == _without_place(base / name)


def _without_place(path: Path) -> dict[str, Any]:
    return {k: v for k, v in json.loads(path.read_text()).items() if k not in ("is_local", "local_files_only")}


class Asking(TrainingHubCallback):
    """Asks something of the run when it is told of a step, and notes what it is told."""

    def __init__(self, **asked: Callable[[TrainingHubContext], None]) -> None:
        self.asked = {int(step.removeprefix("at_")): ask for step, ask in asked.items()}
        self.saved: Callable[[TrainingHubContext], None] = lambda context: None
        self.epochs: list[float] = []

    def on_step_end(self, context: TrainingHubContext) -> None:
        if ask := self.asked.get(context.step):
            ask(context)

    def on_save(self, context: TrainingHubContext) -> None:
        self.saved(context)

    def on_epoch_end(self, context: TrainingHubContext) -> None:
        self.epochs.append(context.epoch)


def figures(out: Path) -> dict[int, list[Any]]:
    """What each step that counts was told with, but for its time."""
    names = ("loss", "learning_rate", "grad_norm", "tokens", "epoch")
    told = [event for event in live_events(read_events(out / "events.jsonl")) if event["event"] == "step"]
    return {event["step"]: [event[name] for name in names] for event in told}


@pytest.mark.faults
def test_a_stopped_run_goes_on_as_if_it_had_not_been(model: Path, rows: Path, tmp_path: Path, cpu: None) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    settings: dict[str, Any] = {"num_epochs": 8, **ADAM}
    run(model, rows, whole, **settings)
    asking = Asking(at_4=lambda context: context.stop("enough"))
    stopped = run(model, rows, out, callbacks=asking, **settings)

    [stop] = events(out, "stop")
    done = stop["step"]
    assert (stopped.state, stop["reason"]) == ("stopped", "enough")
    assert 4 <= done < 24
    assert stopped.checkpoint == out / f"checkpoint-{done}"
    assert not (out / "final").exists()
    assert asking.epochs == list(range(1, done // 3 + 1))
    found = complete(stopped.checkpoint)
    assert found and found.resumable

    # What a crash may leave: a checkpoint without all of its files, which is none.
    broken = out / f"checkpoint-{done + 1}"
    shutil.copytree(stopped.checkpoint, broken)
    (broken / "full_state" / "optimizer.bin").unlink()
    result = run(model, rows, out, resume=True, **settings)
    assert not broken.exists()
    assert [event["resumed_from"] for event in events(out, "start")] == [None, done]
    assert {event["schema"] for event in events(out, "start")} == {SCHEMA}
    assert [event["epoch"] for event in events(out, "epoch")] == list(range(1, 9))
    # Not a digit differs.
    assert figures(out) == figures(whole)
    assert (result.state, result.checkpoint) == ("completed", out / "final")
    assert sorted(path.name for path in result.checkpoint.iterdir()) == sorted(
        path.name for path in (whole / "final").iterdir()
    )


@pytest.mark.faults
def test_a_run_of_two_processes_obeys_and_goes_on(model: Path, rows: Path, tmp_path: Path, float32: None) -> None:
    first, rest = tmp_path / "first", tmp_path / "rest"
    settings: dict[str, Any] = {"num_epochs": 12, "nproc_per_node": 2, "keep_last_checkpoint_only": True, **ADAM}
    asking = Asking(at_2=lambda context: context.save())
    # Once more for its own checkpoint would end the run at once.
    asking.saved = lambda context: os.kill(os.getpid(), signal.SIGINT) if not events(first, "stop") else None
    stopped = run(model, rows, first, callbacks=asking, **settings)

    [stop], saves = events(first, "stop"), events(first, "save")
    assert (stopped.state, stop["reason"]) == ("stopped", "SIGINT")
    assert len(saves) == 2
    assert 2 <= saves[0]["step"] < saves[1]["step"] == stop["step"]
    assert [path.name for path in first.glob("checkpoint-*")] == [f"checkpoint-{stop['step']}"]

    # In another directory, with another learning rate from some step on.
    slower = Asking(**{f"at_{stop['step'] + 2}": lambda context: context.set_learning_rate(1e-4)})
    run(model, rows, rest, resume=first, callbacks=slower, **settings)
    train, _ = reference.sides(model, rows, 0)
    wanted = reference.train(model, train, [], batch=6, epochs=12, **ADAM)

    steps = column(first, "step") + column(rest, "step")
    assert steps == list(range(1, 37))
    assert column(first, "tokens") + column(rest, "tokens") == wanted.tokens
    rates = column(first, "learning_rate") + column(rest, "learning_rate")
    changed = next(step for step, rate, due in zip(steps, rates, wanted.learning_rates, strict=True) if rate < due / 2)
    assert changed > stop["step"] + 2
    assert rates[: changed - 1] == pytest.approx(wanted.learning_rates[: changed - 1])
    assert rates[changed - 1] == pytest.approx(1e-4)
    factor = 1e-4 / wanted.learning_rates[changed - 1]
    assert rates[changed - 1 :] == pytest.approx([factor * due for due in wanted.learning_rates[changed - 1 :]])
    losses = column(first, "loss") + column(rest, "loss")
    assert losses[:changed] == pytest.approx(wanted.losses[:changed], abs=1e-4)


def test_a_loss_that_is_not_a_number_ends_the_run(model: Path, rows: Path, tmp_path: Path, cpu: None) -> None:
    out = tmp_path / "out"
    # Two steps make such weights that the third one's loss is none.
    with pytest.raises(
        NonFiniteLossError, match=r"the loss of step 3 is nan; its rows, counted .*: \d+, \d+"
    ) as caught:
        run(model, rows, out, learning_rate=1.0, weight_decay=1e30, save_samples=1)
    assert column(out, "step") == [1, 2]
    assert {path.name for path in out.glob("checkpoint-*")} == {"checkpoint-1", "checkpoint-2"}
    assert f"last complete checkpoint: {out / 'checkpoint-2'}; resume=True goes on from it" in str(caught.value)


class _at_step:
    """Does something in a thread when a run reports a step."""

    def __init__(self, out: Path, step: int, act: Any) -> None:
        self.step = step
        self.act = act
        self.done = threading.Event()
        self.follower = Follower(out / "events.jsonl", self.receive)

    def receive(self, event: Event) -> None:
        if event["event"] == "step" and event["step"] >= self.step and not self.done.is_set():
            self.done.set()
            self.act()

    def __enter__(self) -> None:
        self.follower.__enter__()

    def __exit__(self, *error: Any) -> None:
        self.follower.__exit__(*error)


def test_two_nodes_that_share_a_disk_train_as_one_does_and_go_on(
    model: Path, rows: Path, tmp_path: Path, float32: None
) -> None:
    out = tmp_path / "out"
    train, _ = reference.sides(model, rows, 0)
    wanted = reference.train(model, train, [], batch=6, epochs=4, **ADAM)
    for given in ({"callbacks": Asking(at_3=lambda context: context.stop("enough"))}, {"resume": True}):
        result = _on_two_nodes(model, rows, out, num_epochs=4, **given)
    [stop] = events(out, "stop")
    assert [event["resumed_from"] for event in events(out, "start")] == [None, stop["step"]]
    assert column(out, "loss") == pytest.approx(wanted.losses, abs=1e-4)
    assert result.checkpoint == out / "final"
    assert not (out / "nodes" / "1" / "final").exists()
    assert not column(out / "nodes" / "1", "loss")


def _on_two_nodes(model: Path, rows: Path, out: Path, **given: Any) -> TrainingResult:
    """What the first of two nodes of one process each returns; both write to the same directory."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = (
        "import json, sys; from on_cpu import on_cpu; from training_hub import sft\n"
        "with on_cpu('instructlab-training', TRAINING_HUB_CPU_FLOAT32='1'): sft(**json.loads(sys.argv[1]))"
    )
    both = {"nnodes": 2, "master_addr": "127.0.0.1", "master_port": port, **ADAM, **given}
    other = {
        "model_path": str(model),
        "data_path": str(rows),
        "ckpt_output_dir": str(out),
        "backend": "instructlab-training",
        "effective_batch_size": 6,
        "max_seq_len": 256,
        "node_rank": 1,
        **{name: value for name, value in both.items() if name != "callbacks"},
    }
    with subprocess.Popen([sys.executable, "-c", script, json.dumps(other)], env=os.environ) as second:
        result = run(model, rows, out, **both)
        assert second.wait() == 0
    return result


def test_a_killed_rank_ends_the_run_and_is_named(model: Path, rows: Path, tmp_path: Path, cpu: None) -> None:
    out, killed = tmp_path / "out", []

    def kill() -> None:
        [worker] = ranks(1)
        os.kill(worker, signal.SIGKILL)
        killed.append(time.monotonic())

    with (
        pytest.raises(TrainingFailedError, match=r"rank 1 was ended by SIGKILL: .*memory") as caught,
        _at_step(out, 2, kill),
    ):
        run(model, rows, out, nproc_per_node=2, num_epochs=2000)
    assert time.monotonic() - killed[0] < 60
    assert str(out / "logs" / "processes.log") in str(caught.value)
    for process in _processes(out):
        _wait_for_end(process, seconds=20)


def _wait_for_end(process: int, seconds: float) -> None:
    """The processes that loaded the killed rank's rows look for it every few seconds."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(process)
        try:
            assert select.select([descriptor], [], [], seconds)[0], f"process {process} is left over"
        finally:
            os.close(descriptor)


def _processes(out: Path) -> list[int]:
    """The run's workers, and the processes that load their rows."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().decode()
            variables = dict(v.split("=", 1) for v in (entry / "environ").read_bytes().decode().split("\0") if "=" in v)
        except (OSError, ValueError, UnicodeDecodeError):
            continue
        if str(out) in command and "RANK" in variables:
            found.append(int(entry.name))
    return found


def test_an_error_in_a_worker_comes_back_with_its_rank(model: Path, rows: Path, tmp_path: Path, cpu: None) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in model.iterdir():
        # A whole file, which no check before the start refuses, with a type of tensor that there is not.
        (broken / path.name).write_bytes(path.read_bytes().replace(b'"F32"', b'"F??"', 1))
    with pytest.raises(TrainingFailedError, match=r"rank 0 failed: SafetensorError: (.|\n)*log: "):
        run(broken, rows, tmp_path / "out")


def test_a_busy_port_is_said_to_be_one(model: Path, rows: Path, tmp_path: Path, cpu: None) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        with pytest.raises(TrainingFailedError, match="what to do: another process listens on that port"):
            run(model, rows, tmp_path / "out", master_addr="127.0.0.1", master_port=port)


def test_a_router_loss_that_nobody_asked_for_is_off(rows: Path, tmp_path: Path, cpu: None) -> None:
    make("gpt_oss", tmp_path / "model", output_router_logits=True, router_aux_loss_coef=0.5)
    for most in (256, 4096):
        result = run(tmp_path / "model", rows, tmp_path / str(most), max_tokens_per_gpu=most)
    # The framework holds this model in bfloat16.
    assert column(tmp_path / "256", "loss") == pytest.approx(column(tmp_path / "4096", "loss"), abs=0.05)
    assert column(tmp_path / "256", "loss")[0] < 6
    saved = json.loads((result.checkpoint / "config.json").read_text())
    assert saved["output_router_logits"] is True
    # It saves this model's experts in another form, which is said, and said in the config, too.
    assert saved["quantization_config"]["quant_method"] == "mxfp4"
    assert any("in 4 bits, MXFP4" in event["message"] for event in events(tmp_path / "256", "warning"))
    _, loading = AutoModelForCausalLM.from_pretrained(result.checkpoint, output_loading_info=True)
    assert not loading["missing_keys"] and not loading["unexpected_keys"]


def test_a_model_whose_class_the_framework_refuses_is_told_of_before_it_starts(
    rows: Path, tmp_path: Path, cpu: None
) -> None:
    make("gpt2", tmp_path / "gpt2")
    with pytest.raises(ModelError, match="instructlab-training does not train a GPT2LMHeadModel"):
        run(tmp_path / "gpt2", rows, tmp_path / "out")
