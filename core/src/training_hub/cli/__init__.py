"""The command `training-hub`."""

from __future__ import annotations

import sys

from training_hub.cli.exit_codes import INTERRUPTED, RunStopped

DEBUG = "--debug"


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments behind the command's name; by default the process' own.

    Returns:
        The exit code: 0; 1 when a run failed; 2 for a user's mistake; 130 when interrupted, also where a run was
        stopped with a checkpoint; 143 when that was by SIGTERM.
    """
    arguments = sys.argv[1:] if argv is None else argv
    try:
        from training_hub.cli.application import run

        # Taken out here, so that it may stand before or after the subcommand and also covers errors of parsing.
        run([argument for argument in arguments if argument != DEBUG])
    except RunStopped as stopped:
        return int(stopped.code or INTERRUPTED)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        # Typer has turned Ctrl-C into this code, and said nothing.
        return _reported(KeyboardInterrupt(), debug=False) if code == INTERRUPTED else code
    except (Exception, KeyboardInterrupt) as error:
        return _reported(error, debug=DEBUG in arguments)
    return 0


def _reported(error: BaseException, *, debug: bool) -> int:
    from training_hub.cli.failures import report

    return report(error, debug=debug)
