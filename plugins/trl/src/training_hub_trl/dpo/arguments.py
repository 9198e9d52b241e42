"""The arguments of TRL's trainer of pairs."""

from __future__ import annotations

from trl import DPOConfig

from training_hub.plugin import Job
from training_hub_trl.construct import construct
from training_hub_trl.dpo.reference import check_reference


def arguments(job: Job) -> DPOConfig:
    """Those of a job.

    Raises:
        UserError: TRL refuses them, or the reference model is not there, or does not fit.
    """
    check_reference(job)
    return construct(DPOConfig, job.arguments["DPOConfig"])
