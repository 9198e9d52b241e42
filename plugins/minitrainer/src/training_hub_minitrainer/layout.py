"""Where this backend puts things in the directories of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal


def rows_file(values: Mapping[str, Any], side: Literal["train", "validation"]) -> Path:
    """The processed rows of one side. Nodes that share a disk each have their own."""
    directory = Path(values["data_output_dir"] or Path(values["ckpt_output_dir"]) / "data")
    return directory / f"{side}{_node(values)}.jsonl"


def framework_directory(values: Mapping[str, Any]) -> Path:
    """What mini-trainer calls its output directory: its own logs, and checkpoints before they get their place."""
    return Path(values["ckpt_output_dir"]) / "logs" / "mini-trainer"


def job_file(values: Mapping[str, Any]) -> Path:
    """What the processes of this node are to do."""
    return Path(values["ckpt_output_dir"]) / "logs" / f"job{_node(values)}.json"


def outcome_file(values: Mapping[str, Any]) -> Path:
    """What came of it."""
    return Path(values["ckpt_output_dir"]) / "logs" / f"outcome{_node(values)}.json"


def cache_directory(values: Mapping[str, Any]) -> Path:
    """Where the datasets library keeps its copy of the rows while the run lasts."""
    return rows_file(values, "train").with_suffix(".cache")


def full_state_directory(values: Mapping[str, Any]) -> Path:
    """Where states to resume from (on_demand_checkpointing) are kept, beyond the logs' life."""
    return Path(values["ckpt_output_dir"]) / "full_state_checkpoints"


def _node(values: Mapping[str, Any]) -> str:
    return f"-node{values['node_rank']}" if values["node_rank"] else ""
