"""Makes the rows that the framework trains on, before it starts (`-m training_hub_instructlab.rows JOB`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from training_hub.plugin import (
    EventLog,
    Job,
    ModelError,
    check_weights,
    load_config,
    read_json,
    run_worker,
    write_json,
    write_rows,
)

CLASSES = ("ForCausalLM", "ForConditionalGeneration")
"""Parts of a model's class name, one of which the framework wants."""


@dataclass(frozen=True)
class Rows:
    """What there is to train and to validate on."""

    lengths: Sequence[int]
    """Tokens of each training row."""
    validation_tokens: int = 0
    """Trained tokens of all validation rows; 0 where there are none."""

    @classmethod
    def read(cls, directory: Path) -> Rows:
        return cls(**read_json(directory / "rows.json"))


def train_file(directory: Path) -> Path:
    """The tokens and labels that are trained on, in the directory of processed rows."""
    return directory / "data.jsonl"


def validation_file(directory: Path) -> Path:
    """Those that are validated on, where there are any."""
    return directory / "validation.jsonl"


def make_rows(job: Job) -> None:
    """Turn the dataset into tokens and labels, and write them for the framework.

    Raises:
        UserError: A row cannot be encoded, or none is short enough; or the model's files lack weights, or it is one
            that the framework refuses.
    """
    # Here it is told before any process of the framework is started.
    _require_its_class(job)
    check_weights(job)
    directory = job.data_directory
    events = EventLog(job.directory.events)
    lengths, held_back = write_rows(job, events, train_file(directory), validation_file(directory))
    rows = Rows(lengths, held_back.trained_tokens if held_back else 0)
    write_json(directory / "rows.json", asdict(rows))


def _require_its_class(job: Job) -> None:
    """Refuse a model that the framework, which goes by the name of its class, would refuse once it is loaded.

    Raises:
        ModelError: It is one.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    name = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(load_config(job).model_type)
    if isinstance(name, str) and not any(part in name for part in CLASSES):
        raise ModelError(
            f"model_path={job.parameters['model_path']}: instructlab-training does not train a {name}: it wants a "
            f"class whose name holds {' or '.join(CLASSES)}; give another backend"
        )


if __name__ == "__main__":
    run_worker(make_rows)
