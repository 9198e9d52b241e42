"""A process' place among others is what its launcher says; what does not hold together is refused by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training_hub.errors import ParameterError
from training_hub.launchers.ranks import left_behind, ranks


def torchrun(rank, local, nodes, **further):
    return {
        **{"TORCHELASTIC_RUN_ID": "none", "RANK": str(rank), "WORLD_SIZE": str(local * nodes)},
        **{"LOCAL_RANK": str(rank % local), "LOCAL_WORLD_SIZE": str(local)},
        **{"GROUP_RANK": str(rank // local), "GROUP_WORLD_SIZE": str(nodes)},
        **{"MASTER_ADDR": "node7", "MASTER_PORT": "29500", "TORCHELASTIC_USE_AGENT_STORE": "True"},
        **further,
    }


def srun(rank, local, nodes, **further):
    return {
        **{"SLURM_JOB_ID": "812", "SLURM_STEP_ID": "3", "SLURM_STEP_NUM_TASKS": str(local * nodes)},
        **{"SLURM_STEP_NUM_NODES": str(nodes), "SLURM_STEP_NODELIST": "gpu[007-010,12]-ib,login"},
        **{"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank % local), "SLURM_NODEID": str(rank // local)},
        **further,
    }


PLACES = st.tuples(st.integers(1, 9), st.integers(1, 5)).flatmap(
    lambda size: st.tuples(st.integers(0, size[0] * size[1] - 1), st.just(size[0]), st.just(size[1]))
)


@given(PLACES, st.sampled_from([torchrun, srun]))
def test_the_place_is_what_the_launcher_says(place, launcher):
    rank, local, nodes = place
    found = ranks(launcher(rank, local, nodes))
    if local * nodes == 1:
        assert found is None
        return
    assert found.launcher == launcher.__name__
    assert (found.rank, found.world_size) == (rank, local * nodes)
    assert (found.local_rank, found.local_world_size) == (rank % local, local)
    assert (found.node_rank, found.nodes) == (rank // local, nodes)
    assert found.conducts == (rank % local == 0)


def test_ranks_of_srun_meet_on_their_first_machine_at_a_port_of_their_step():
    one, other = ranks(srun(0, 2, 2)), ranks(srun(3, 2, 2))
    assert (one.address, one.port) == (other.address, other.port) == ("gpu007-ib", one.port)
    assert ranks(srun(0, 2, 2, SLURM_STEP_ID="4")).port != one.port
    assert ranks(srun(1, 2, 1)).address == "127.0.0.1"
    named = ranks(srun(0, 2, 2, MASTER_ADDR="head", MASTER_PORT="29511"))
    assert (named.address, named.port) == ("head", 29511)


def test_torchrun_within_a_step_of_srun_is_what_counts():
    assert ranks({**srun(1, 1, 2), **torchrun(2, 2, 2)}).launcher == "torchrun"


def test_a_batch_script_that_starts_python_itself_is_one_process():
    batch = {"SLURM_JOB_ID": "812", "SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0"}
    assert ranks(batch) is None
    assert left_behind(batch) is None


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (torchrun(0, 2, 1, RANK="2"), "contradict each other: rank 2 of 2"),
        (torchrun(0, 2, 1, WORLD_SIZE="4"), "0 of 2 on node 0 of 1"),
        (torchrun(0, 2, 1, LOCAL_RANK="x"), "LOCAL_RANK is 'x' where it has to be a whole number"),
        (srun(1, 2, 1, RANK="0"), "RANK=0 and srun's SLURM_PROCID=1 contradict each other"),
        (srun(1, 2, 1, WORLD_SIZE="4"), "WORLD_SIZE=4 and srun's SLURM_STEP_NUM_TASKS=2"),
        (srun(0, 3, 1, SLURM_STEP_NUM_NODES="2"), "3 tasks on 2 nodes.*--ntasks-per-node"),
        ({"RANK": "1", "WORLD_SIZE": "2"}, "RANK=1 and WORLD_SIZE=2: .*neither torchrun, accelerate nor srun"),
        ({"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4"}, "OMPI_COMM_WORLD_RANK=3"),
        ({"PMI_RANK": "1", "PMI_SIZE": "2"}, "PMI_RANK=1 and PMI_SIZE=2"),
    ],
)
def test_what_does_not_hold_together_is_refused_by_name(variables, said):
    with pytest.raises(ParameterError, match=said):
        ranks(variables)


def test_what_is_left_behind_is_told_and_makes_no_process_one_of_several():
    left = {"WORLD_SIZE": "2", "PMI_SIZE": "4", "OMPI_COMM_WORLD_SIZE": "1", "RANK": "0"}
    assert ranks(left) is None
    assert left_behind(left).startswith("WORLD_SIZE=2 and PMI_SIZE=4 in the environment: no launcher")
    assert left_behind({"WORLD_SIZE": "1"}) is None
    assert left_behind(torchrun(0, 2, 1)) is None
