"""A list of checks, and how they are run."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from stagedoor.model.errors import StagedoorError
from stagedoor.wire.finding import Finding, Result, fail


@dataclass(frozen=True, slots=True)
class Check:
    """`run` looks at one thing; it may find several, and a StagedoorError or OSError is a failure."""

    name: str
    run: Callable[[], Iterable[Finding]]


def run_checks(checks: Iterable[Check]) -> Iterator[Result]:
    """What each finds, in order, as it is found. No fault in one keeps the others from running."""
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
