"""A script that torchrun has started in several processes trains in all of them, with the losses of one."""

from __future__ import annotations

from pathlib import Path

import pytest
from launched import TORCHRUN, losses


def test_a_script_under_torchrun_trains_with_the_losses_of_one_process(model: Path, rows: Path, tmp_path: Path) -> None:
    call = {"algorithm": "osft", "backend": "mini-trainer", "model_path": str(model), "data_path": str(rows)}
    call |= {"unfreeze_rank_ratio": 0.5, "num_epochs": 1, "effective_batch_size": 8, "learning_rate": 1e-3}
    call |= {"max_seq_len": 256, "max_tokens_per_gpu": 512}
    alone, launched = losses(call, tmp_path / "alone"), losses(call, tmp_path / "launched", *TORCHRUN)
    assert launched == pytest.approx(alone, abs=1e-4)
