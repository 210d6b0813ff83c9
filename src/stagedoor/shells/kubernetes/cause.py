"""Why a shell does not start: found by `live.diagnose`, kept on its lease by `derive.objects`. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a shell does not start: the step that failed, and one line for the person who waits."""

    step: str
    message: str
