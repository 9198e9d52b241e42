"""What a run on a CPU does with the memory of its tensors."""

import json
import platform
import subprocess
import sys

import pytest

RUN = """
import json, resource, sys
from training_hub import sft
sft(**json.loads(sys.argv[1]))
import torch
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(30):
    torch.ones(16 * 1024**2)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(job, monkeypatch, **variables):
    """Pages that the system had to hand out for 30 tensors of 64 MB after a run, each freed before the next."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    given = json.dumps({name: str(value) if name.endswith(("path", "dir")) else value for name, value in job.items()})
    done = subprocess.run([sys.executable, "-c", RUN, given], capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc's malloc that is told")
def test_freed_memory_is_used_again_unless_the_environment_says_otherwise(job, monkeypatch, tmp_path):
    kept = faults(job | {"num_epochs": 1}, monkeypatch)
    returned = faults(
        job | {"num_epochs": 1, "ckpt_output_dir": tmp_path / "other"}, monkeypatch, MALLOC_MMAP_THRESHOLD_="131072"
    )
    assert 5 * kept < returned
