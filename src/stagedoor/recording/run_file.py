"""The recording of a run, which is written from its log when it has ended."""

from collections.abc import Iterable

from stagedoor.model.run import Output, Run
from stagedoor.recording.asciicast_file import AsciicastFile
from stagedoor.recording.ports import RecordingStore, Seal
from stagedoor.recording.recorder import SUFFIX, RecordingEnded
from stagedoor.wire.terminal.asciicast import AsciicastHeader, Code

_COLUMNS, _ROWS = 80, 24
_CHANNEL = 1


def write_run_recording(
    store: RecordingStore, seal: Seal | None, run: Run, output: Iterable[Output]
) -> RecordingEnded:
    """Write the recording of a run that has ended, and return what was written. Blocks.

    `output` is what its log keeps. The log has no times, so all of it is shown at once; a marker at the run's
    end names its exit code. A full disk is the result's `why`.
    """
    assert run.recording is not None, "only a run that is to be recorded has a recording"
    name = f"{run.recording}.{_CHANNEL}{SUFFIX}" + (seal.suffix if seal else "")
    file, why = AsciicastFile(name), None
    try:
        file.create(store, seal, _make_header(run))
        for piece in output:
            file.append([(0.0, Code.OUTPUT, piece.data)], last=False)
        lasted_s = max((run.ended_at or run.started_at) - run.started_at, 0.0)
        end = f"{run.state.value.replace('_', ' ')} {run.code}"
        file.append([(lasted_s, Code.MARKER, end.encode())], last=True)
    except OSError as error:
        why = error.strerror or str(error)
    return RecordingEnded(name, file.size, file.finish(), why)


def _make_header(run: Run) -> AsciicastHeader:
    return AsciicastHeader(
        width=_COLUMNS,
        height=_ROWS,
        timestamp=int(run.started_at),
        command=run.command,
        title=f"{run.starter} in {run.target}",
        env={},
        extra={
            "stagedoor": {
                "session": run.recording,
                "channel": _CHANNEL,
                "identity": run.starter,
                "target": str(run.target),
                "run": run.id,
            }
        },
    )
