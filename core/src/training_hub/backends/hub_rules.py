"""Rules for the parameters that the hub applies by itself, whichever backend trains.

A backend's table starts from these and adds, or writes over, what its framework does:

    {**hub_rules(plan), "learning_rate": exact("Config.lr"), ...}

A parameter that a newer hub adds, and applies by itself, is thereby covered in a plugin that was built before.
"""

from __future__ import annotations

from functools import partial

from training_hub.backends.translation import Rule, by_hub, when
from training_hub.launchers.plan import LaunchPlan
from training_hub.parameters.resolution import Parameters

_ROWS = by_hub("how rows are read")
_TORCHRUN = by_hub("given to torchrun")


def hub_rules(launch: LaunchPlan | None) -> dict[str, Rule]:
    """What becomes of each parameter that the hub applies by itself.

    They hold for a backend that takes its rows from the hub (`prepare_rows`), reports by `StepReporter`, keeps its
    checkpoints by `CheckpointKeeper` and obeys by `ControlReader`.

    Args:
        launch: The processes that train; None where the caller's does, and several are then refused.
    """
    size = launch.world_size if launch else 1
    launched = f"{size} process{'es' if size > 1 else ''}{'' if launch else ', the caller itself'}"
    return {
        "data_path": by_hub("read, checked and turned into tokens and labels by the hub"),
        "backend": by_hub("this one"),
        "overwrite_output_dir": by_hub("checked before the run"),
        "data_output_dir": by_hub("tokens and labels are kept there"),
        "max_seq_len": by_hub("longer rows are left out, with a warning"),
        "save_final_checkpoint": by_hub("the model is saved in `final`"),
        "checkpoint_at_epoch": by_hub("a checkpoint at the end of each epoch"),
        "keep_last_checkpoint_only": by_hub("an older checkpoint is deleted once a newer one is complete"),
        "save_best_val_loss": by_hub("a checkpoint when the validation loss improves, kept from deletion"),
        "val_loss_improvement_threshold": by_hub("least fall that counts"),
        "is_pretraining": by_hub("documents are cut in blocks, and every token is trained"),
        "block_size": by_hub("tokens in a block"),
        "document_column_name": by_hub("key of a document"),
        "use_processed_dataset": by_hub("tokens and labels are taken from the rows"),
        "unmask_messages": by_hub("the turns of every role are trained"),
        **dict.fromkeys(("dataset_type", "field_messages", "field_instruction", "field_input", "field_output"), _ROWS),
        **{
            name: by_hub(launched, refuse=partial(_several, name) if launch is None else None)
            for name in ("nproc_per_node", "nnodes")
        },
        **dict.fromkeys(("node_rank", "rdzv_id", "rdzv_endpoint", "master_addr", "master_port"), _TORCHRUN),
        "callbacks": by_hub("called from the run's events; they can stop it, save, and set the learning rate"),
        "callback_errors": by_hub("stop or warn"),
        "resume": by_hub("weights, optimizer, schedule, order of rows and random state go on from a checkpoint"),
        "resume_changes": by_hub("what may differ from the run resumed"),
        "on_nan": by_hub("the loss of each step is looked at"),
        "grace_seconds": by_hub("the processes are ended after it"),
        "hang_seconds": by_hub(
            "the processes are ended after it",
            refuse=None
            if launch
            else when("hang_seconds", lambda: "one process trains in the caller's own, which cannot be ended"),
        ),
    }


def _several(name: str, parameters: Parameters) -> str | None:
    asked = parameters[name]
    return "one process trains, the caller's own" if isinstance(asked, int) and asked > 1 else None
