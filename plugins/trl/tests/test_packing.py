"""Packed rows are rows apart, or packing is refused."""

import sys
from pathlib import Path

import pytest

from training_hub import lora_sft
from training_hub.errors import ParameterError
from training_hub.testing.reference import measure
from training_hub.testing.toy import conversations, write_rows

sys.path.insert(0, str(Path(__file__).parents[3] / "tests" / "models"))
from architectures import make


@pytest.fixture
def packed(job, tmp_path):
    rows = tmp_path / "rows.jsonl"
    write_rows(rows, conversations(8))
    return job | {"data_path": rows, "num_epochs": 1, "max_seq_len": 400, "lora_r": 4, "sample_packing": True}


@pytest.mark.parametrize("name", ["gemma3_text", "mixtral", "gpt2"])
def test_packed_rows_have_the_loss_of_rows_apart(name, packed, losses, tmp_path):
    make(name, model := tmp_path / "model")
    lora_sft(**packed | {"model_path": model})
    expected = measure(model, packed["data_path"], [model])[model]["loss"]
    assert losses(packed["ckpt_output_dir"])[0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["gpt_oss", "mamba", "bamba", "bloom"])
def test_a_model_in_which_rows_see_each_other_is_not_packed(name, packed, tmp_path):
    make(name, tmp_path / "model")
    with pytest.raises(ParameterError, match="sample_packing"):
        lora_sft(**packed | {"model_path": tmp_path / "model"})
