"""The way in which terminals are recorded, where the rules say that a user is recorded."""

from dataclasses import dataclass

from stagedoor.recording.recorder import Recorder


@dataclass(frozen=True, slots=True)
class RecordingPlan:
    """`go_on` lets people work unrecorded when a recording fails, otherwise they are sent out.

    `notice` shows a line that they are recorded; `record_input` keeps what is typed.
    """

    recorder: Recorder
    go_on: bool = False
    notice: bool = True
    record_input: bool = False
