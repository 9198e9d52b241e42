"""Calls as the README makes them, and calls that are wrong: for type checkers, never run.

A line that must be rejected says `type: ignore`; a checker that does not reject it reports the comment as unused.
"""

from pathlib import Path
from typing import Any, assert_type

from training_hub import (
    Algorithm,
    EarlyStopping,
    TrainingHubCallback,
    TrainingHubContext,
    TrainingResult,
    create_algorithm,
    lora_sft,
    osft,
    sft,
)


class Notes(TrainingHubCallback):
    def on_log(self, context: TrainingHubContext) -> None:
        if context.loss is not None and context.loss < 0.5:
            context.stop("good enough")


def accepted(name: str, settings: dict[str, Any]) -> None:
    result = sft(model_path="./model", data_path="./data.jsonl", ckpt_output_dir="./output")
    assert_type(result, TrainingResult)
    assert_type(result.checkpoint, Path | None)

    sft("model", Path("rows.jsonl"), Path("out"), "trl", 3, 8, 2e-5, 2048, 45_000, Path("data"))
    sft("model", "rows.jsonl", "out", backend="trl", neftune_noise_alpha=5, dataloader_num_workers=2)
    sft("model", "rows.jsonl", "out", fsdp_options={"sharding_strategy": "FULL_SHARD"}, resume=Path("earlier"))
    sft("model", "rows.jsonl", "out", nproc_per_node="gpu", learning_rate=1, **settings)
    osft("model", "rows.jsonl", 0.25, 128, 10_000, 4096, 5e-6, "out")
    osft(model_path="model", data_path="rows.jsonl", ckpt_output_dir="out", unfreeze_rank_ratio=0.25)
    lora_sft("model", "rows.jsonl", "out", lora_r=16, target_modules=["q_proj"], dataset_type="messages")

    notes = [Notes(), Notes()]
    sft("model", "rows.jsonl", "out", callbacks=notes)
    sft("model", "rows.jsonl", "out", callbacks=Notes())
    sft("model", "rows.jsonl", "out", callbacks=[Notes(), EarlyStopping(patience=3)])
    sft("model", "rows.jsonl", "out", callbacks=(*notes,), callback_errors="warn")


def created(name: str) -> None:
    algorithm = create_algorithm("sft", backend_name="trl")
    assert_type(algorithm.train(model_path="model", data_path="rows.jsonl", ckpt_output_dir="out"), TrainingResult)
    lora = create_algorithm("lora_sft", "trl", model_path="model", data_path="rows.jsonl")
    lora.train(ckpt_output_dir="out", lora_r=8, save_merged_model=True)
    create_algorithm("osft").train("model", "rows.jsonl", 0.25, ckpt_output_dir="out")

    any_algorithm = create_algorithm(name)
    assert_type(any_algorithm, Algorithm)
    any_algorithm.train("model", "rows.jsonl", "out", of_its_own=True)
    any_algorithm = lora


def rejected() -> None:
    lora_sft("model", "rows.jsonl", "out", lora_r="x")  # type: ignore[arg-type]
    lora_sft("model", "rows.jsonl", "out", bnb_4bit_quant_type="nf5")  # type: ignore[arg-type]
    sft("model", "rows.jsonl")  # type: ignore[call-arg]
    sft("model", "rows.jsonl", "out", "trl", 3, 8, 2e-5, 2048, 45_000, "data", False)  # type: ignore[call-arg]
    sft("model", "rows.jsonl", "out", model_path="model")  # type: ignore[misc]
    sft("model", 5, "out")  # type: ignore[arg-type]
    sft("model", "rows.jsonl", "out", callbacks=[print])  # type: ignore[list-item]
    sft("model", "rows.jsonl", "out", fsdp_options={"sharding": "FULL_SHARD"})  # type: ignore[arg-type]
    osft("model", "rows.jsonl", ckpt_output_dir="out")  # type: ignore[call-arg]
    create_algorithm("lora_sft").train("model", "rows.jsonl", "out", lora_r="x")  # type: ignore[arg-type]
    _ = sft("model", "rows.jsonl", "out").checkpoints  # type: ignore[attr-defined]
