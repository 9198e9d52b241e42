"""The same job gives the same losses as on the trl backend, in float32, where that is installed too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from minitrainer_runs import backend_on_cpu, events, losses

from training_hub import osft, sft

pytest.importorskip("training_hub_trl")


@pytest.mark.parametrize(
    ("algorithm", "processes", "largest"),
    [("osft", 2, 2e-5), ("sft", 1, 1e-5)],
)
def test_losses_agree_step_by_step(
    job: dict[str, Any], tmp_path: Path, algorithm: str, processes: int, largest: float
) -> None:
    """All rows in each step, in several ragged micro-batches, so that no order of rows plays a part."""
    train, own = (osft, {"unfreeze_rank_ratio": 0.25}) if algorithm == "osft" else (sft, {})
    asked = job | own | {"effective_batch_size": 16, "num_epochs": 6, "weight_decay": 0.1, "max_tokens_per_gpu": 256}
    train(**asked | {"backend": "trl", "ckpt_output_dir": tmp_path / "trl"})
    with backend_on_cpu(float32=True):
        train(**asked, nproc_per_node=processes)
    out = job["ckpt_output_dir"]
    assert losses(out) == pytest.approx(losses(tmp_path / "trl"), abs=largest)
    for name in ("learning_rate", "tokens", "epoch", "step", "max_steps"):
        assert [step[name] for step in events(out, "step")] == [step[name] for step in events(tmp_path / "trl", "step")]
