"""What is saved is like its base, where the framework would save something else, or nothing at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from unusual_base import check_like, make_unusual

from training_hub import sft


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=str)
def test_tied_weights_settings_and_shapes_are_those_of_the_base(
    kind: torch.dtype, rows: Path, tmp_path: Path, cpu: None
) -> None:
    base = tmp_path / "base"
    make_unusual(base, kind)

    result = sft(
        model_path=base,
        data_path=rows,
        ckpt_output_dir=tmp_path / "out",
        backend="instructlab-training",
        num_epochs=1,
        effective_batch_size=8,
        max_tokens_per_gpu=512,
        max_seq_len=128,
        learning_rate=1e-3,
        checkpoint_at_epoch=True,
    )

    assert result.checkpoint is not None
    check_like(base, result.checkpoint, tmp_path / "out" / "checkpoint-2")
