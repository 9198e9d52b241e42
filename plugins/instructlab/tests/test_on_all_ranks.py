"""Callbacks on every rank: they see the sharded model, answer prompts with it, and leave training as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from training_hub import SampleGenerations, sft
from training_hub.store.events import Event, read_events
from training_hub.testing.on_ranks import RankNotes, notes_of_ranks

pytestmark = pytest.mark.slow


def events(out: Path, kind: str) -> list[Event]:
    return [event for event in read_events(out / "events.jsonl") if event["event"] == kind]


def test_a_sharded_model_answers_and_is_trained_as_without(
    model: Path, rows: Path, tmp_path: Path, cpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINING_HUB_CPU_FLOAT32", "1")

    def run(name: str, **given: Any) -> list[float]:
        sft(
            model_path=model,
            data_path=rows,
            ckpt_output_dir=tmp_path / name,
            backend="instructlab-training",
            nproc_per_node=2,
            effective_batch_size=8,
            num_epochs=2,
            learning_rate=1e-3,
            max_seq_len=256,
            checkpoint_at_epoch=True,
            **given,
        )
        return [event["loss"] for event in events(tmp_path / name, "step")]

    samples = SampleGenerations(["Say 7."], every=3, max_new_tokens=4)
    losses = run("watched", callbacks=[RankNotes(str(tmp_path)), samples])
    assert losses == run("plain")

    calls = [[(call["hook"], call["step"], call["loss"]) for call in noted] for noted in notes_of_ranks(tmp_path)]
    assert len(calls) == 2 and calls[0] == calls[1]
    assert [(step, loss) for hook, step, loss in calls[0] if hook == "on_log"] == list(enumerate(losses, start=1))
    assert [step for hook, step, _ in calls[0] if hook == "on_save"] == [2, 4, 4]
    assert (calls[0][0][:2], calls[0][-1][:2]) == (("on_train_begin", 0), ("on_train_end", 4))
    assert [event["step"] for event in events(tmp_path / "watched", "samples")] == [0, 3, 4]
    assert "NO_SHARD" not in (tmp_path / "watched" / "logs" / "processes.log").read_text()
