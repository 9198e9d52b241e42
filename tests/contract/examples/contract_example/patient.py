"""A launcher that starts two ranks and waits for the first of them, however long."""

import os
import socket
import subprocess
import sys


def main():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import sys, time; from contract_example import patient; patient.work()",
                *sys.argv[1:],
            ],
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
        )
        for rank in range(2)
    ]
    started[0].wait()
    sys.exit(1)


def work():
    """Report a step, and wait for what never comes."""
    import threading
    from pathlib import Path

    from training_hub.plugin import EventLog, Job

    if os.environ["RANK"] == "0":
        EventLog(Job.read(Path(sys.argv[1])).directory.events).emit("step", step=1)
    threading.Event().wait()


if __name__ == "__main__":
    main()
