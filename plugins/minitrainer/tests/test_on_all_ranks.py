"""Callbacks on every rank: they see the sharded model, answer prompts with it, and leave training as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minitrainer_runs import events, losses

from training_hub import SampleGenerations, osft
from training_hub.testing.on_ranks import RankNotes, notes_of_ranks


def test_a_sharded_model_answers_and_is_trained_as_without(job: dict[str, Any], tmp_path: Path, cpu: None) -> None:
    def run(name: str, **given: Any) -> list[float]:
        out = tmp_path / name
        osft(**job | {"ckpt_output_dir": out}, unfreeze_rank_ratio=0.25, nproc_per_node=2, **given)
        return losses(out)

    samples = SampleGenerations(["Say 7."], every=3, max_new_tokens=4)
    watched = run("watched", checkpoint_at_epoch=True, callbacks=[RankNotes(str(tmp_path)), samples])
    assert watched == run("plain", checkpoint_at_epoch=True)

    calls = [[(call["hook"], call["step"], call["loss"]) for call in noted] for noted in notes_of_ranks(tmp_path)]
    assert len(calls) == 2 and calls[0] == calls[1]
    assert [(step, loss) for hook, step, loss in calls[0] if hook == "on_log"] == list(enumerate(watched, start=1))
    assert [step for hook, step, _ in calls[0] if hook == "on_save"] == [2, 4, 4]
    assert (calls[0][0][:2], calls[0][-1][:2]) == (("on_train_begin", 0), ("on_train_end", 4))
    assert [event["step"] for event in events(tmp_path / "watched", "samples")] == [0, 3, 4]
