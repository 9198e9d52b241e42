"""The command `training-hub`."""

from __future__ import annotations

import sys

DEBUG = "--debug"


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments behind the command's name; by default the process' own.

    Returns:
        The exit code: 0; 1 when a run failed; 2 for a user's mistake; 130 when interrupted.
    """
    arguments = sys.argv[1:] if argv is None else argv
    try:
        from training_hub.cli.application import run

        # Taken out here, so that it may stand before or after the subcommand and also covers errors of parsing.
        run([argument for argument in arguments if argument != DEBUG])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except (Exception, KeyboardInterrupt) as error:
        from training_hub.cli.failures import report

        return report(error, debug=DEBUG in arguments)
    return 0
