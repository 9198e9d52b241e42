"""How processes start, as data: a launcher carries it out, a person reads it in `training-hub plan`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from training_hub.parameters.resolution import Parameters


@dataclass(frozen=True)
class LaunchPlan:
    """The processes of a run on this node. Pure data."""

    module: str
    """The Python module that every process runs."""
    processes: int
    """Processes on this node."""
    nodes: int = 1
    node_rank: int = 0
    rendezvous: Mapping[str, str] = field(default_factory=dict)
    """torchrun's options by name that say where the nodes meet; empty for a run on one node."""
    interpreter: str = ""
    """The interpreter that runs it; the caller's own when empty."""
    torchrun: bool = True
    """Whether torchrun starts them. Without it there is one process, which must not look like one of several."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables set besides those of the caller."""

    @property
    def world_size(self) -> int:
        return self.processes * self.nodes

    def argv(self, *arguments: str) -> list[str]:
        """The command behind the interpreter: torchrun, its options, the module and its arguments."""
        if not self.torchrun:
            return ["-m", self.module, *arguments]
        where = (
            [f"--{name}={value}" for name, value in self.rendezvous.items()] if self.rendezvous else ["--standalone"]
        )
        return [
            "-m",
            "training_hub.worker.torchrun",
            f"--nnodes={self.nodes}",
            f"--nproc-per-node={self.processes}",
            *([f"--node-rank={self.node_rank}"] if self.rendezvous else []),
            *where,
            "-m",
            self.module,
            *arguments,
        ]


def rendezvous(parameters: Parameters) -> dict[str, str]:
    """Torchrun's rendezvous options from the torchrun parameters; empty when one node needs none."""
    if parameters["rdzv_endpoint"]:
        # The backend c10d would number the nodes by their addresses, whatever node_rank says.
        options = {"rdzv-backend": "static", "rdzv-endpoint": parameters["rdzv_endpoint"]}
        return options | ({"rdzv-id": str(parameters["rdzv_id"])} if parameters["rdzv_id"] is not None else {})
    # One that a scheduler has set belongs to every job, also to one that needs no rendezvous.
    if parameters["nnodes"] > 1 or parameters.chosen("master_addr"):
        return {
            "master-addr": parameters["master_addr"] or "127.0.0.1",
            "master-port": str(parameters["master_port"] or 29500),
        }
    return {}
