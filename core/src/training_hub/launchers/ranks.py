"""This process' place among those in which a launcher has started the script: torchrun, `accelerate launch` or srun.

A variable that a launcher sets makes no process one of several by itself: a shell, a pod or a batch script may have
been left with it, and there is nobody to wait for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from training_hub.errors import ParameterError

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE")
_SRUN = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_STEP_NUM_NODES")
_OTHERS = (
    ("RANK", "WORLD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
)
"""Variables of launchers that start processes in ways that are not known here: which process, and of how many."""
_PORTS = range(20_000, 32_000)


@dataclass(frozen=True)
class Ranks:
    """One process of several that all run the same script."""

    launcher: str
    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    node_rank: int
    nodes: int
    address: str
    """Of the machine of rank 0."""
    port: int
    """Where rank 0, or its launcher, can be met."""
    hosted: bool = False
    """Whether the launcher itself has a store of PyTorch's at that port."""
    attempt: str = "0"
    """How often the launcher has started the processes anew."""

    @property
    def conducts(self) -> bool:
        """Whether this process, the first of its node, carries the run through there; the others join it."""
        return self.local_rank == 0


def ranks(environment: Mapping[str, str]) -> Ranks | None:
    """This process' place among those of the launcher; None where it is alone.

    Args:
        environment: The process' variables.

    Raises:
        ParameterError: The variables say that it is one of several, and do not hold together.
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        return _of_torchrun(environment)
    if environment.get("SLURM_STEP_NUM_TASKS", "1") != "1" and "SLURM_PROCID" in environment:
        return _of_srun(environment)
    for rank, size in _OTHERS:
        if environment.get(rank, "0") != "0" and environment.get(size, "1") != "1":
            raise ParameterError(
                f"{rank}={environment[rank]} and {size}={environment[size]}: this process is said to be one of "
                f"several, and neither torchrun, accelerate nor srun has started it, so that it would train the same "
                f"once more: start the script by torchrun, or once with python and without these variables"
            )
    return None


def speaks(environment: Mapping[str, str]) -> bool:
    """Whether this process tells a person of the run; those that join one say nothing that the first one says.

    Raises:
        ParameterError: As of `ranks`.
    """
    found = ranks(environment)
    return found is None or found.conducts


def left_behind(environment: Mapping[str, str]) -> str | None:
    """What a shell or a scheduler has left that speaks of several processes where there is one; for a warning."""
    if ranks(environment) is not None or "TORCHELASTIC_RUN_ID" in environment:
        return None
    found = [f"{size}={environment[size]}" for _, size in _OTHERS if environment.get(size, "1") != "1"]
    if not found:
        return None
    return (
        f"{' and '.join(found)} in the environment: no launcher has started this process, and it trains alone; "
        f"nproc_per_node starts several"
    )


def _of_torchrun(environment: Mapping[str, str]) -> Ranks | None:
    found = _numbers(environment, _TORCHRUN, "torchrun")
    if found["WORLD_SIZE"] == 1:
        return None
    return _checked(
        Ranks(
            "torchrun",
            rank=found["RANK"],
            world_size=found["WORLD_SIZE"],
            local_rank=found["LOCAL_RANK"],
            local_world_size=found["LOCAL_WORLD_SIZE"],
            node_rank=found["GROUP_RANK"],
            nodes=found["GROUP_WORLD_SIZE"],
            address=environment.get("MASTER_ADDR", "127.0.0.1"),
            port=_numbers(environment, ("MASTER_PORT",), "torchrun")["MASTER_PORT"],
            hosted=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
            attempt=environment.get("TORCHELASTIC_RESTART_COUNT", "0"),
        )
    )


def _of_srun(environment: Mapping[str, str]) -> Ranks:
    found = _numbers(environment, _SRUN, "srun")
    rank, size, nodes = found["SLURM_PROCID"], found["SLURM_STEP_NUM_TASKS"], found["SLURM_STEP_NUM_NODES"]
    for name, own, theirs in (("RANK", "SLURM_PROCID", rank), ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS", size)):
        if environment.get(name, str(theirs)) != str(theirs):
            raise ParameterError(
                f"{name}={environment[name]} and srun's {own}={theirs} contradict each other: which process is this? "
                f"Unset {name}"
            )
    if size % nodes:
        raise ParameterError(
            f"srun has started {size} tasks on {nodes} nodes, not the same number on each: give --ntasks-per-node"
        )
    step = int(environment.get("SLURM_JOB_ID", "0")) * 7 + int(environment.get("SLURM_STEP_ID", "0"))
    port = environment.get("MASTER_PORT") or str(_PORTS[step % len(_PORTS)])
    return _checked(
        Ranks(
            "srun",
            rank=rank,
            world_size=size,
            local_rank=found["SLURM_LOCALID"],
            local_world_size=size // nodes,
            node_rank=found["SLURM_NODEID"],
            nodes=nodes,
            address=environment.get("MASTER_ADDR") or _first_host(environment, nodes),
            port=_numbers({"MASTER_PORT": port}, ("MASTER_PORT",), "srun")["MASTER_PORT"],
            attempt=environment.get("SLURM_RESTART_COUNT", "0"),
        )
    )


def _first_host(environment: Mapping[str, str], nodes: int) -> str:
    """The first of srun's machines, whose list is as short as `node[07-09,12],other`."""
    if nodes == 1:
        return "127.0.0.1"
    listed = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_NODELIST", "")
    if not (found := re.match(r"([^\s,\[]+)(?:\[(\d+)[^\]]*\]([^\s,\[]*))?", listed)):
        raise ParameterError("srun does not say which nodes there are (SLURM_STEP_NODELIST): set MASTER_ADDR")
    return "".join(part or "" for part in found.groups())


def _numbers(environment: Mapping[str, str], names: tuple[str, ...], launcher: str) -> dict[str, int]:
    found = {}
    for name in names:
        said = environment.get(name)
        if said is None or not said.isdecimal():
            raise ParameterError(
                f"{launcher} has started this process, and {name} is {said!r} where it has to be a whole number: "
                f"start the script by {launcher} itself, and let none of its variables be set by anything else"
            )
        found[name] = int(said)
    return found


def _checked(found: Ranks) -> Ranks:
    fits = (
        found.rank < found.world_size
        and found.local_rank < found.local_world_size
        and found.node_rank < found.nodes
        and found.local_world_size * found.nodes == found.world_size
    )
    if not fits:
        raise ParameterError(
            f"the variables of {found.launcher} contradict each other: rank {found.rank} of {found.world_size}, "
            f"{found.local_rank} of {found.local_world_size} on node {found.node_rank} of {found.nodes}; every node "
            f"has to have the same number of processes, and nothing else may set these variables"
        )
    return found
