"""Whether what is installed fits a package's own requirements, told from metadata alone."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec

from training_hub.backends.devices import Devices


def installation_problem(distribution: str) -> str | None:
    """Why a package cannot work with what is installed, with the command that mends it; None where it can.

    Another framework in the same environment may have brought other versions.

    Args:
        distribution: Whose requirements must be met, without those of its extras: a plugin's own package.
    """
    if problems := unmet(distribution, also_missing=True):
        return f"{'; '.join(problems)}: pip install {distribution}"
    return None


def liger_problem(here: Devices, distribution: str) -> str | None:
    """Why Liger's kernels, which `use_liger` asks for, cannot be had; None where they can.

    Args:
        here: The devices that are trained on.
        distribution: A plugin's own package, whose extra `liger` brings them.
    """
    if here.kind != "cuda":
        return f"Liger's kernels need a GPU, and there is {here}"
    return None if find_spec("liger_kernel") else f'liger-kernel is not installed: pip install "{distribution}[liger]"'


def unmet(distribution: str, *names: str, also_missing: bool = False) -> list[str]:
    """Requirements of a package that what is installed does not meet, each as a phrase.

    Args:
        distribution: Whose requirements, without its extras. One that is not installed has none.
        names: Which packages; all of them by default.
        also_missing: Whether packages that are not installed count, too.
    """
    try:
        needs, own = version(distribution), requires(distribution) or []
    except PackageNotFoundError:
        return []
    return list(_unmet(f"{distribution} {needs}", own, names, also_missing))


def _unmet(needs: str, own: list[str], names: tuple[str, ...], also_missing: bool) -> Iterator[str]:
    from packaging.requirements import Requirement

    missing = []
    # Some have hundreds, so those that cannot be meant are not parsed.
    for needed in map(Requirement, filter(lambda text: text.startswith(names or ("",)), own)):
        if (names and needed.name not in names) or (needed.marker and not needed.marker.evaluate({"extra": ""})):
            continue
        try:
            found = version(needed.name)
        except PackageNotFoundError:
            missing.append(needed.name)
            continue
        if not needed.specifier.contains(found, prereleases=True):
            yield f"{needed.name} {found} is installed, and {needs} needs {needed.specifier}"
    if missing and also_missing:
        yield f"{', '.join(missing)} is missing"
