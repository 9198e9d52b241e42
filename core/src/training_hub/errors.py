"""Every error the hub raises on purpose: what was wrong, where, and what mends it.

All of them are `TrainingHubError`. Those that describe a mistake in what was asked (`UserError`, exit code 2 at the
command line) are also a `ValueError` or a `FileNotFoundError` where a caller would expect that.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from difflib import get_close_matches


class TrainingHubError(Exception):
    """Base of every error of Training Hub."""


class UserError(TrainingHubError):
    """The request cannot be carried out as asked; nothing was started and nothing was written."""


class ParameterError(UserError, ValueError):
    """A parameter is unknown, ill-typed, out of bounds, contradicts another one, or is not honoured by the backend."""


class ConfigError(UserError, ValueError):
    """A configuration file cannot be read as parameters."""


class DatasetError(UserError, ValueError):
    """The dataset was read, and rows of it cannot be trained on."""


class DatasetNotFoundError(UserError, FileNotFoundError):
    """There is no dataset at the path given, or it is empty."""


class ModelError(UserError, ValueError):
    """The model directory lacks something that training needs."""


class ModelNotFoundError(UserError, FileNotFoundError):
    """There is no model at the path given."""


class OutputDirectoryError(UserError, ValueError):
    """The output directory cannot be written, is too small, or holds another run."""


class RequestError(UserError, ValueError, FileNotFoundError):
    """Several things are wrong with a request, each said in a line or more."""


class AlgorithmNotFoundError(UserError, ValueError):
    """No algorithm of that name is built in or brought by a plugin."""


class BackendNotFoundError(UserError, ValueError):
    """No backend of that name is known for the algorithm."""


class BackendNotInstalledError(BackendNotFoundError):
    """The backend is known, but the package that brings it is not installed."""


class BackendUnavailableError(UserError, ValueError):
    """The backend is installed and cannot run on this machine as asked."""


class PluginError(UserError, ImportError):
    """A plugin that was asked for by name cannot be loaded."""


class ResumeError(UserError, ValueError):
    """A run cannot go on as asked: there is nothing to go on from, or what was asked differs from what ran."""


class RunNotFoundError(UserError, FileNotFoundError):
    """There is no run, and no metrics file of a framework, at the path given."""


class RunFormatError(UserError, ValueError):
    """A run is there and cannot be read: a newer version wrote it, or its files are damaged."""


class ExtraMissingError(UserError, ImportError):
    """Something was asked for that needs a package which the core does without."""


class OlderNameError(UserError, ImportError):
    """The older package of this import name had something that this one has not; the message says what to use."""


class TrainingFailedError(TrainingHubError, RuntimeError):
    """Training started and did not finish."""


class NonFiniteLossError(TrainingFailedError):
    """The loss became NaN or infinite."""


class CallbackError(TrainingFailedError):
    """A callback raised (its error is the cause), or asked for what the backend cannot do."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A ready sentence end, ` (did you mean 'x'?)`, or an empty string when nothing known is near."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


def import_failure(error: BaseException) -> Exception | None:
    """What ended an import that an error comes from; None where it comes from something else."""
    if not isinstance(error, Exception):
        return None
    # A framework that imports its parts when they are asked for wraps what it then meets.
    if error.__cause__ is not None and (found := import_failure(error.__cause__)):
        return found
    importing = any(
        frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") != "__main__"
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )
    return error if importing else None


def in_one_line(error: BaseException) -> str:
    """Type and message of an error."""
    return " ".join(f"{type(error).__name__}: {error}".split())
