"""All that a plugin's author imports, beside `training_hub` and `training_hub.testing`. All else may move.

docs/plugins.md builds a plugin up with it from ten lines to a published package, and lists every name here. Nothing in
this module imports torch or a framework, so a plugin's entry module may import it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training_hub.algorithms.base import HUB_FORMATS, Algorithm
    from training_hub.backends.base import Availability, Backend, FrameworkBackend
    from training_hub.backends.batches import BatchPlan, plan_batches, processes, row_length
    from training_hub.backends.devices import Devices, devices
    from training_hub.backends.framework_arguments import FrameworkSources
    from training_hub.backends.hub_rules import hub_rules
    from training_hub.backends.installation import installation_problem, liger_problem, unmet
    from training_hub.backends.job import Job
    from training_hub.backends.run import Run
    from training_hub.backends.schedules import schedule_problem
    from training_hub.backends.torchrun import TorchrunBackend, train_job
    from training_hub.backends.translation import (
        Item,
        Rule,
        Translation,
        approximate,
        by_hub,
        exact,
        reference,
        refused,
        translate,
        when,
    )
    from training_hub.callbacks.callback import TrainingHubCallback, TrainingHubContext
    from training_hub.data.encode import Encoded, Encoder
    from training_hub.data.examples import Conversation, Message
    from training_hub.data.messages import (
        checked_messages,
        checked_template_arguments,
        checked_tools,
        checked_turns,
        require_text_only,
    )
    from training_hub.data.options import DatasetOptions, RowError
    from training_hub.data.prepare import Prepared, Report, Rows
    from training_hub.data.processed import write_processed
    from training_hub.data.row_format import EncodedRow, RowFormat
    from training_hub.data.tokenizer import Tokenizer, end_of_text, require_template
    from training_hub.errors import (
        BackendUnavailableError,
        DatasetError,
        ModelError,
        ModelNotFoundError,
        ParameterError,
        ResumeError,
        TrainingFailedError,
        TrainingHubError,
        UserError,
        nearest,
    )
    from training_hub.launchers.alone import alone, alone_here
    from training_hub.launchers.local import launch, run_first
    from training_hub.launchers.plan import LaunchPlan, rendezvous
    from training_hub.parameters.declaration import REQUIRED, Derived, Param, Parameter
    from training_hub.parameters.description import misfit
    from training_hub.parameters.groups import (
        Callbacks,
        Checkpoints,
        Common,
        Continuity,
        Essentials,
        Execution,
        FilePath,
        Optimizer,
        Pretraining,
        Schedule,
        Torchrun,
        Validation,
    )
    from training_hub.parameters.lora import LORA_CONTRADICTIONS, Adapter, MicroBatches, Quantisation, Saving
    from training_hub.parameters.resolution import Contradiction, Parameters
    from training_hub.plugins.hookspecs import hookimpl
    from training_hub.store.checkpoints import Checkpoint
    from training_hub.store.control import ControlReader, Orders
    from training_hub.store.directory import RunDirectory, data_directory, node_directory, read_json, size, write_json
    from training_hub.store.events import EventLog, read_events
    from training_hub.store.figure import Figure
    from training_hub.store.outcome import Outcome
    from training_hub.store.result import TrainingResult
    from training_hub.trackers.tracker import TrackedRun, Tracker, TrackerOutcome
    from training_hub.worker.base_model import base_directory, like_base, precisions
    from training_hub.worker.callbacks import RankCallbacks
    from training_hub.worker.checkpoints import CheckpointKeeper, weights_alone
    from training_hub.worker.control import orders_on_every_rank, set_learning_rate
    from training_hub.worker.failure import recorded_failure
    from training_hub.worker.finite import check_finite
    from training_hub.worker.loop import FrameworkLoop, Stopped
    from training_hub.worker.main import run_worker
    from training_hub.worker.osft_targets import is_called, preserved_rank, target_layers, target_weights
    from training_hub.worker.progress import Progress, RowOrder
    from training_hub.worker.protection import require_protection
    from training_hub.worker.reporter import StepReporter
    from training_hub.worker.router_losses import router_losses_off
    from training_hub.worker.rows import load_config, load_tokenizer, prepare_rows, revision, tell_warnings, write_rows
    from training_hub.worker.weights import check_weights

# Names are imported when they are first used: a process that trains needs others than one that only lists.
_HOMES = {
    "Adapter": "training_hub.parameters.lora",
    "Algorithm": "training_hub.algorithms.base",
    "Availability": "training_hub.backends.base",
    "Backend": "training_hub.backends.base",
    "BackendUnavailableError": "training_hub.errors",
    "BatchPlan": "training_hub.backends.batches",
    "Callbacks": "training_hub.parameters.groups",
    "Checkpoint": "training_hub.store.checkpoints",
    "CheckpointKeeper": "training_hub.worker.checkpoints",
    "Checkpoints": "training_hub.parameters.groups",
    "Common": "training_hub.parameters.groups",
    "Continuity": "training_hub.parameters.groups",
    "Contradiction": "training_hub.parameters.resolution",
    "ControlReader": "training_hub.store.control",
    "Conversation": "training_hub.data.examples",
    "DatasetError": "training_hub.errors",
    "DatasetOptions": "training_hub.data.options",
    "Derived": "training_hub.parameters.declaration",
    "Devices": "training_hub.backends.devices",
    "Encoded": "training_hub.data.encode",
    "EncodedRow": "training_hub.data.row_format",
    "Encoder": "training_hub.data.encode",
    "Essentials": "training_hub.parameters.groups",
    "EventLog": "training_hub.store.events",
    "Execution": "training_hub.parameters.groups",
    "Figure": "training_hub.store.figure",
    "FilePath": "training_hub.parameters.groups",
    "FrameworkBackend": "training_hub.backends.base",
    "FrameworkLoop": "training_hub.worker.loop",
    "FrameworkSources": "training_hub.backends.framework_arguments",
    "HUB_FORMATS": "training_hub.algorithms.base",
    "Item": "training_hub.backends.translation",
    "Job": "training_hub.backends.job",
    "LORA_CONTRADICTIONS": "training_hub.parameters.lora",
    "LaunchPlan": "training_hub.launchers.plan",
    "Message": "training_hub.data.examples",
    "MicroBatches": "training_hub.parameters.lora",
    "ModelError": "training_hub.errors",
    "ModelNotFoundError": "training_hub.errors",
    "Optimizer": "training_hub.parameters.groups",
    "Orders": "training_hub.store.control",
    "Outcome": "training_hub.store.outcome",
    "Param": "training_hub.parameters.declaration",
    "Parameter": "training_hub.parameters.declaration",
    "ParameterError": "training_hub.errors",
    "Parameters": "training_hub.parameters.resolution",
    "Prepared": "training_hub.data.prepare",
    "Pretraining": "training_hub.parameters.groups",
    "Progress": "training_hub.worker.progress",
    "Quantisation": "training_hub.parameters.lora",
    "REQUIRED": "training_hub.parameters.declaration",
    "RankCallbacks": "training_hub.worker.callbacks",
    "Report": "training_hub.data.prepare",
    "ResumeError": "training_hub.errors",
    "RowError": "training_hub.data.options",
    "RowFormat": "training_hub.data.row_format",
    "RowOrder": "training_hub.worker.progress",
    "Rows": "training_hub.data.prepare",
    "Rule": "training_hub.backends.translation",
    "Run": "training_hub.backends.run",
    "RunDirectory": "training_hub.store.directory",
    "Saving": "training_hub.parameters.lora",
    "Schedule": "training_hub.parameters.groups",
    "StepReporter": "training_hub.worker.reporter",
    "Stopped": "training_hub.worker.loop",
    "Tokenizer": "training_hub.data.tokenizer",
    "Torchrun": "training_hub.parameters.groups",
    "TorchrunBackend": "training_hub.backends.torchrun",
    "TrackedRun": "training_hub.trackers.tracker",
    "Tracker": "training_hub.trackers.tracker",
    "TrackerOutcome": "training_hub.trackers.tracker",
    "TrainingFailedError": "training_hub.errors",
    "TrainingHubCallback": "training_hub.callbacks.callback",
    "TrainingHubContext": "training_hub.callbacks.callback",
    "TrainingHubError": "training_hub.errors",
    "TrainingResult": "training_hub.store.result",
    "Translation": "training_hub.backends.translation",
    "UserError": "training_hub.errors",
    "Validation": "training_hub.parameters.groups",
    "alone": "training_hub.launchers.alone",
    "alone_here": "training_hub.launchers.alone",
    "approximate": "training_hub.backends.translation",
    "base_directory": "training_hub.worker.base_model",
    "by_hub": "training_hub.backends.translation",
    "check_finite": "training_hub.worker.finite",
    "check_weights": "training_hub.worker.weights",
    "checked_messages": "training_hub.data.messages",
    "checked_template_arguments": "training_hub.data.messages",
    "checked_tools": "training_hub.data.messages",
    "checked_turns": "training_hub.data.messages",
    "require_text_only": "training_hub.data.messages",
    "data_directory": "training_hub.store.directory",
    "devices": "training_hub.backends.devices",
    "end_of_text": "training_hub.data.tokenizer",
    "exact": "training_hub.backends.translation",
    "hookimpl": "training_hub.plugins.hookspecs",
    "hub_rules": "training_hub.backends.hub_rules",
    "installation_problem": "training_hub.backends.installation",
    "is_called": "training_hub.worker.osft_targets",
    "launch": "training_hub.launchers.local",
    "liger_problem": "training_hub.backends.installation",
    "load_config": "training_hub.worker.rows",
    "like_base": "training_hub.worker.base_model",
    "load_tokenizer": "training_hub.worker.rows",
    "misfit": "training_hub.parameters.description",
    "nearest": "training_hub.errors",
    "node_directory": "training_hub.store.directory",
    "orders_on_every_rank": "training_hub.worker.control",
    "plan_batches": "training_hub.backends.batches",
    "precisions": "training_hub.worker.base_model",
    "prepare_rows": "training_hub.worker.rows",
    "preserved_rank": "training_hub.worker.osft_targets",
    "processes": "training_hub.backends.batches",
    "read_events": "training_hub.store.events",
    "read_json": "training_hub.store.directory",
    "recorded_failure": "training_hub.worker.failure",
    "reference": "training_hub.backends.translation",
    "refused": "training_hub.backends.translation",
    "rendezvous": "training_hub.launchers.plan",
    "require_protection": "training_hub.worker.protection",
    "require_template": "training_hub.data.tokenizer",
    "router_losses_off": "training_hub.worker.router_losses",
    "row_length": "training_hub.backends.batches",
    "revision": "training_hub.worker.rows",
    "run_first": "training_hub.launchers.local",
    "run_worker": "training_hub.worker.main",
    "schedule_problem": "training_hub.backends.schedules",
    "set_learning_rate": "training_hub.worker.control",
    "size": "training_hub.store.directory",
    "target_layers": "training_hub.worker.osft_targets",
    "target_weights": "training_hub.worker.osft_targets",
    "tell_warnings": "training_hub.worker.rows",
    "train_job": "training_hub.backends.torchrun",
    "translate": "training_hub.backends.translation",
    "unmet": "training_hub.backends.installation",
    "weights_alone": "training_hub.worker.checkpoints",
    "when": "training_hub.backends.translation",
    "write_json": "training_hub.store.directory",
    "write_processed": "training_hub.data.processed",
    "write_rows": "training_hub.worker.rows",
}

__all__ = [
    "Adapter",
    "Algorithm",
    "Availability",
    "Backend",
    "BackendUnavailableError",
    "BatchPlan",
    "Callbacks",
    "Checkpoint",
    "CheckpointKeeper",
    "Checkpoints",
    "Common",
    "Continuity",
    "Contradiction",
    "ControlReader",
    "Conversation",
    "DatasetError",
    "DatasetOptions",
    "Derived",
    "Devices",
    "Encoded",
    "EncodedRow",
    "Encoder",
    "Essentials",
    "EventLog",
    "Execution",
    "Figure",
    "FilePath",
    "FrameworkBackend",
    "FrameworkLoop",
    "FrameworkSources",
    "HUB_FORMATS",
    "Item",
    "Job",
    "LORA_CONTRADICTIONS",
    "LaunchPlan",
    "Message",
    "MicroBatches",
    "ModelError",
    "ModelNotFoundError",
    "Optimizer",
    "Orders",
    "Outcome",
    "Param",
    "Parameter",
    "ParameterError",
    "Parameters",
    "Prepared",
    "Pretraining",
    "Progress",
    "Quantisation",
    "REQUIRED",
    "RankCallbacks",
    "Report",
    "ResumeError",
    "RowError",
    "RowFormat",
    "RowOrder",
    "Rows",
    "Rule",
    "Run",
    "RunDirectory",
    "Saving",
    "Schedule",
    "StepReporter",
    "Stopped",
    "Tokenizer",
    "Torchrun",
    "TorchrunBackend",
    "TrackedRun",
    "Tracker",
    "TrackerOutcome",
    "TrainingFailedError",
    "TrainingHubCallback",
    "TrainingHubContext",
    "TrainingHubError",
    "TrainingResult",
    "Translation",
    "UserError",
    "Validation",
    "alone",
    "alone_here",
    "approximate",
    "base_directory",
    "by_hub",
    "check_finite",
    "check_weights",
    "checked_messages",
    "checked_template_arguments",
    "checked_tools",
    "checked_turns",
    "require_text_only",
    "data_directory",
    "devices",
    "end_of_text",
    "exact",
    "hookimpl",
    "hub_rules",
    "installation_problem",
    "is_called",
    "launch",
    "liger_problem",
    "load_config",
    "like_base",
    "load_tokenizer",
    "misfit",
    "nearest",
    "node_directory",
    "orders_on_every_rank",
    "plan_batches",
    "precisions",
    "prepare_rows",
    "preserved_rank",
    "processes",
    "read_events",
    "read_json",
    "recorded_failure",
    "reference",
    "refused",
    "rendezvous",
    "require_protection",
    "require_template",
    "router_losses_off",
    "row_length",
    "revision",
    "run_first",
    "run_worker",
    "schedule_problem",
    "set_learning_rate",
    "size",
    "target_layers",
    "target_weights",
    "tell_warnings",
    "train_job",
    "translate",
    "unmet",
    "weights_alone",
    "when",
    "write_json",
    "write_processed",
    "write_rows",
]


def __getattr__(name: str) -> Any:
    if home := _HOMES.get(name):
        return getattr(import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
