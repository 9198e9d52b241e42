"""What a result takes over from its base, without PyTorch: settings, and what headers of weights say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from training_hub.errors import TrainingFailedError
from training_hub.plugin import FrameworkLoop, Progress, RowOrder, base_directory, like_base, precisions
from training_hub.store.checkpoints import complete
from training_hub.testing.jobs import make_job

CONFIG = {"model_type": "llama", "use_cache": True, "eos_token_id": 2, "dtype": "float32", "its_own": 1}
OF_THE_FRAMEWORK = {"model_type": "llama", "use_cache": False, "eos_token_id": 7, "pad_token_id": 7, "vocab_size": 312}


def directory(path: Path, config: dict[str, Any], *, rows: int = 3, dtype: str = "F32", **files: Any) -> Path:
    path.mkdir(parents=True)
    for name, content in {"config": config, **files}.items():
        (path / f"{name}.json").write_text(json.dumps(content))
    data = bytes(rows * 4 * {"F32": 4, "BF16": 2}[dtype])
    header = json.dumps({"embed.weight": {"dtype": dtype, "shape": [rows, 4], "data_offsets": [0, len(data)]}}).encode()
    (path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data)
    return path


def read(file: Path) -> Any:
    return json.loads(file.read_text())


def test_settings_and_the_processors_files_are_those_of_the_base(tmp_path: Path) -> None:
    generation = {"do_sample": False, "temperature": 0.6}
    processor = {"size": 28}
    base = directory(tmp_path / "base", CONFIG, generation_config=generation, preprocessor_config=processor)
    written = directory(tmp_path / "written", OF_THE_FRAMEWORK, generation_config={"eos_token_id": 7})
    like_base(written, base)
    for name in ("config.json", "generation_config.json", "preprocessor_config.json"):
        assert (written / name).read_bytes() == (base / name).read_bytes()


def test_of_what_the_base_does_not_say_nothing_is_said(tmp_path: Path) -> None:
    base = directory(tmp_path / "base", CONFIG)
    written = directory(tmp_path / "written", OF_THE_FRAMEWORK, generation_config={"eos_token_id": 7})
    like_base(written, base)
    assert not (written / "generation_config.json").exists()


def test_a_model_of_another_shape_keeps_its_configuration_but_for_what_training_changed(tmp_path: Path) -> None:
    base = directory(tmp_path / "base", CONFIG)
    written = directory(tmp_path / "written", OF_THE_FRAMEWORK, rows=8)
    like_base(written, base)
    assert read(written / "config.json") == {
        "model_type": "llama",
        "use_cache": True,
        "eos_token_id": 2,
        "vocab_size": 312,
        "dtype": "float32",
    }


def test_a_quantised_base_is_not_what_its_result_is(tmp_path: Path) -> None:
    base = directory(tmp_path / "base", {**CONFIG, "quantization_config": {"quant_method": "fp8"}})
    written = directory(tmp_path / "written", OF_THE_FRAMEWORK)
    like_base(written, base)
    assert "quantization_config" not in read(written / "config.json")
    assert precisions(base) == {}


def test_the_language_part_of_a_model_that_sees_has_no_processor(tmp_path: Path) -> None:
    sees = {"model_type": "sees", "dtype": "bfloat16", "text_config": CONFIG, "vision_config": {}}
    base = directory(tmp_path / "base", sees, processor_config={})
    written = directory(tmp_path / "written", {**OF_THE_FRAMEWORK, "architectures": None})
    like_base(written, base)
    config = read(written / "config.json")
    assert (config["dtype"], config["use_cache"], config["eos_token_id"]) == ("bfloat16", True, 2)
    assert "architectures" not in config
    assert not (written / "processor_config.json").exists()


def test_the_precision_of_each_weight_is_read_from_the_headers(tmp_path: Path) -> None:
    assert precisions(directory(tmp_path / "base", {}, dtype="BF16")) == {"embed.weight": "bfloat16"}


def test_a_precision_that_somebody_asked_for_is_kept_and_said(tmp_path: Path) -> None:
    base = directory(tmp_path / "base", CONFIG)
    written = directory(tmp_path / "written", OF_THE_FRAMEWORK, dtype="BF16")
    like_base(written, base, dtype="bfloat16")
    assert read(written / "config.json") == {**CONFIG, "dtype": "bfloat16"}
    assert precisions(written) == {"embed.weight": "bfloat16"}


def test_what_is_neither_here_nor_of_the_hubs_form_has_no_files(tmp_path: Path) -> None:
    assert base_directory(str(tmp_path / "nowhere")) is None
    assert base_directory(str(tmp_path)) == tmp_path


@pytest.mark.parametrize("at_the_end", [True, False])
def test_weights_whose_settings_cannot_be_mended_are_kept(at_the_end: bool, tmp_path: Path) -> None:
    base = directory(tmp_path / "base", CONFIG)
    run = tmp_path / "run"
    loop = FrameworkLoop(make_job(run, model_path=str(base)))
    loop.begin(None, None, None, RowOrder(Progress(3, 2, 2, 4), [1, 2, 3], lambda epoch: range(3)))  # type: ignore[arg-type]
    written = directory(run / "logs" / "written", OF_THE_FRAMEWORK)
    (written / "config.json").write_text("{")
    place = run / ("final" if at_the_end else "checkpoint-4")
    with pytest.raises(TrainingFailedError, match=rf"trained weights are in {place}; .*JSONDecodeError"):
        loop.end(written) if at_the_end else loop.adopt(written)
    assert (place / "model.safetensors").exists()
    if not at_the_end:
        found = complete(place)
        assert found is not None and not found.resumable


def test_a_framework_that_quantises_what_it_saves_keeps_its_configuration(tmp_path: Path) -> None:
    base = directory(tmp_path / "base", CONFIG)
    quantised = {**OF_THE_FRAMEWORK, "quantization_config": {"quant_method": "mxfp4"}}
    written = directory(tmp_path / "written", quantised)
    like_base(written, base)
    found = read(written / "config.json")
    assert found["quantization_config"] == {"quant_method": "mxfp4"}
    assert (found["use_cache"], found["eos_token_id"]) == (True, 2)


def test_of_a_model_that_is_there_whole_and_in_parts_the_whole_one_counts(tmp_path: Path) -> None:
    base = directory(tmp_path / "base", CONFIG, rows=3)
    part = directory(tmp_path / "part", CONFIG, rows=5, dtype="BF16") / "model.safetensors"
    part.rename(base / "model-00001-of-00001.safetensors")
    (base / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"embed.weight": "model-00001-of-00001.safetensors"}})
    )
    assert precisions(base) == {"embed.weight": "float32"}
