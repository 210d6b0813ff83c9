"""The cause of a failed start, from `live.diagnose`; `derive.objects` keeps it on the shell's lease. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cause:
    """The cause of a failed start: the step that failed, and one line for the waiting developer."""

    step: str
    message: str
