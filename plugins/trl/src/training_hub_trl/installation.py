"""Whether what is installed fits, told from metadata alone."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement


def unmet(distribution: str, *names: str) -> list[str]:
    """Packages whose versions a distribution's own metadata rules out: another package may have brought them.

    Args:
        distribution: Whose requirements, without its extras. One that is not installed has none.
        names: Which packages; all of them by default.
    """
    try:
        needs, own = version(distribution), requires(distribution) or []
    except PackageNotFoundError:
        return []
    problems = []
    # Some have hundreds, so those that cannot be meant are not parsed.
    for needed in map(Requirement, filter(lambda text: text.startswith(names or ("",)), own)):
        if (names and needed.name not in names) or (needed.marker and not needed.marker.evaluate({"extra": ""})):
            continue
        try:
            found = version(needed.name)
        except PackageNotFoundError:
            continue
        if not needed.specifier.contains(found, prereleases=True):
            problems.append(f"{needed.name} {found} is installed, and {distribution} {needs} needs {needed.specifier}")
    return problems
