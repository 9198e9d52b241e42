"""The jobs of the parity table: which algorithms, on which backends, how many processes, which rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

STEPS = 8
ROWS = {"all": 48, "many": 160}
"""`all`: as many rows as a step holds, so that no order of rows plays a part. `many`: more than that."""
GOALS = {"sft": 1e-3, "osft": 1e-2, "lora_sft": 1e-3}
"""Largest difference of the loss between backends at any step, with all rows in each step."""
FIRST = 1e-3
"""Largest difference of the first loss from the base model's as transformers alone measures it."""
ON_A_GPU = 2e-2
"""Both there, where bfloat16 computes."""
OWN: dict[str, dict[str, Any]] = {
    "sft": {},
    "osft": {"unfreeze_rank_ratio": 0.25},
    # PEFT draws an adapter's first weights on the CPU, module by module: with the same modules and seed, the same ones.
    "lora_sft": {"lora_r": 8, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]},
}
BACKENDS = {
    "sft": ("trl", "instructlab-training", "mini-trainer"),
    "osft": ("trl", "mini-trainer"),
    "lora_sft": ("trl", "unsloth"),
}
ENVIRONMENTS = {
    "trl": ("trl",),
    "instructlab": ("instructlab-training",),
    "minitrainer": ("mini-trainer",),
    "unsloth": ("unsloth", "trl"),
}
"""The backends that each plugin's environment runs; unsloth is held against trl in its own, older, environment too."""


@dataclass(frozen=True)
class Cell:
    """One run of the table."""

    algorithm: str
    backend: str
    processes: int
    rows: str

    @property
    def name(self) -> str:
        return f"{self.algorithm}-{self.backend}-{self.processes}-{self.rows}"

    def parameters(self) -> dict[str, Any]:
        """The call's parameters, but for model, rows and output directory."""
        every = self.rows == "all"
        return {
            "backend": self.backend,
            "num_epochs": STEPS if every else 3,
            "effective_batch_size": ROWS["all"] if every else 16,
            "learning_rate": 2e-3,
            "max_seq_len": 256,
            # Several micro-batches of ragged rows in a step, so that normalisation over them is tested too.
            "max_tokens_per_gpu": 1024,
            "warmup_steps": 2,
            "weight_decay": 0.1,
            "nproc_per_node": self.processes,
            **OWN[self.algorithm],
        }


def cells(backends: tuple[str, ...], *, short: bool) -> list[Cell]:
    """The runs of one environment; the short form leaves out two processes and many rows."""
    return [
        Cell(algorithm, backend, processes, rows)
        for algorithm, carriers in BACKENDS.items()
        for backend in backends
        if backend in carriers and (backend != "trl" or len(backends) == 1 or backends[0] in carriers)
        for processes in (1, 2)
        for rows in ROWS
        if not short or (processes == 1 and rows == "all")
    ]
