"""Checks, and the loop that runs them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from stagedoor.model.errors import StagedoorError
from stagedoor.wire.finding import Finding, Result, fail


@dataclass(frozen=True, slots=True)
class Check:
    """A named check. `run` may yield several findings; a StagedoorError or OSError counts as a failure."""

    name: str
    run: Callable[[], Iterable[Finding]]


def run_checks(checks: Iterable[Check]) -> Iterator[Result]:
    """Yield the findings of each check, in order and as soon as they are known.

    An error in one check does not keep the others from running.
    """
    for check in checks:
        try:
            for finding in check.run():
                yield check.name, finding
        except (StagedoorError, OSError) as error:
            yield check.name, fail(str(error), "mend what the line names, and run the doctor again")
        except Exception as error:
            what = f"this check itself failed: {type(error).__name__}: {error}"
            yield (
                check.name,
                fail(what, "report it, with the output of `stagedoor doctor --bundle`"),
            )
