"""What users rely on most is not skipped in silence: an author says what cannot be checked, and why that is right."""

from __future__ import annotations

from training_hub.backends.base import FrameworkBackend
from training_hub.plugins.registry import AlgorithmRegistry
from training_hub.testing.checks.subject import LEARN_ROWS, Subject


class Coverage(Subject):
    """The check of what the other checks leave out."""

    def test_what_users_rely_on_most_is_checked(self, translates: None) -> None:
        found = {name: reason for name, reason in left_out(type(self)).items() if name not in self.unchecked}
        lines = "".join(f"\n  {name!r}: {reason}" for name, reason in found.items())
        assert not found, (
            f"{len(found)} of the things that users rely on most cannot be checked here:{lines}\nmake it possible, or "
            f"say why this is right: unchecked = {{{', '.join(f'{name!r}: ...' for name in found)}}}"
        )


def left_out(subject: type[Subject]) -> dict[str, str]:
    """What cannot be checked, by name, each with what follows from that."""
    kind = subject.kind()
    assert issubclass(kind, FrameworkBackend)
    names = subject.checked_algorithms()
    found: dict[str, str] = {}
    with subject.environment():
        made = AlgorithmRegistry.get_backend(names[0], subject.backend)() if names else subject.made()
        available = made.availability()
        if not available.available:
            found["training"] = f"it is not available here ({available.reason}), so nothing is trained"
    for name in names:
        if name not in LEARN_ROWS and subject.rows(name) is None:
            found[f"rows of {name}"] = "`rows` of the test class gives none, so it is not trained"
        elif subject.first_loss(name, 1.0) is None:
            found[f"first loss of {name}"] = "`first_loss` of the test class does not tell it, so no loss is held to it"
    if "stop" not in kind.controls:
        found["stop"] = "it cannot be stopped while it trains, so nothing that was trained is saved at a signal"
    return found
