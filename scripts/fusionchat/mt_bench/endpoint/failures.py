"""When single failures are no longer single: a run whose result would be an empty table stops."""

from collections import Counter

from fusionchat.errors import UserError

# So many failures before anything succeeds, and so many that lasted for all retries in a row.
FIRST = 20
AWAY = 3


class FailureWatch:
    """Counts what fails and ends the run where failing is the rule."""

    def __init__(self, total: int, where: str) -> None:
        self._total, self._where = total, where
        self._succeeded = 0
        self._away = 0
        self.kinds: Counter[str] = Counter()
        self._reasons: dict[str, str] = {}

    def succeeded(self, count: int = 1) -> None:
        """Note that so many results are there."""
        self._succeeded += count
        self._away = 0

    def failed(self, kind: str, reason: str, *, passing: bool = False, count: int = 1) -> None:
        """Note results that stay missing; raise a `UserError` where that is systematic.

        `passing`: every try failed, as happens while an endpoint is away.
        """
        self.kinds[kind] += count
        self._reasons.setdefault(kind, reason)
        self._away = self._away + 1 if passing else 0
        failures = self.kinds.total()
        first = failures >= FIRST and not self._succeeded
        if first or self._away >= AWAY or 2 * failures > self._total:
            self._stop(failures)

    def _stop(self, failures: int) -> None:
        kind, count = self.kinds.most_common(1)[0]
        raise UserError(
            f"{self._where}: {failures} of {failures + self._succeeded} requests have no usable "
            f"result, {count} of them for this reason: {kind}: {self._reasons[kind]}. "
            "What arrived is stored; fix the cause and run again"
        )

    def summary(self) -> str:
        """The kinds of failures with their numbers, e.g. `2 blocked, 1 too long`."""
        return ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items()))
