import math
from typing import ClassVar

from training_hub.plugin import Adapter, Quantisation
from training_hub.testing import BackendContract

WITH_AN_ADAPTER = (*Adapter.__annotations__, *Quantisation.__annotations__, "save_merged_model")


class TestTRL(BackendContract):
    backend = "trl"
    beside: ClassVar = {
        **{name: {"use_lora": True} for name in WITH_AN_ADAPTER},
        "label_smoothing": {"loss_type": "robust"},
    }

    @classmethod
    def rows(cls, algorithm):
        if algorithm != "dpo":
            return None
        return [
            {
                "prompt": [{"role": "user", "content": f"Spell {word} backwards."}],
                "chosen": [{"role": "assistant", "content": word[::-1]}],
                "rejected": [{"role": "assistant", "content": f"{word * 2}?"}],
            }
            for word in ("abcdefgh"[start : start + length] for start in range(4) for length in range(1, 6))
        ]

    @classmethod
    def first_loss(cls, algorithm, base):
        return math.log(2) if algorithm == "dpo" else super().first_loss(algorithm, base)
