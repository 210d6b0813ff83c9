"""The recording of a run, which is written from its log when it has ended."""

from collections.abc import Iterable

from stagedoor.model.run import Output, Run
from stagedoor.recording.asciicast_file import AsciicastFile, Seal
from stagedoor.recording.folder import SUFFIX, RecordingFolder
from stagedoor.recording.recorder import PIECE_BYTES, RecordingEnded
from stagedoor.wire.terminal.asciicast import AsciicastHeader, Code

_COLUMNS, _ROWS = 80, 24
_CHANNEL = 1


def write_run_recording(
    store: RecordingFolder, seal: Seal | None, run: Run, output: Iterable[Output]
) -> RecordingEnded:
    """Write the recording of a run that has ended. Blocks.

    `output` is that of its log. A marker at the end names the exit code. If the disk is full, the result's
    `why` says so.
    """
    assert run.recording is not None, "the run is not recorded"
    name = f"{run.recording}.{_CHANNEL}{SUFFIX}" + (seal.suffix if seal else "")
    file, why = AsciicastFile(name), None
    try:
        file.create(store, seal, _make_header(run))
        at, size, events = 0.0, 0, list[tuple[float, Code, bytes]]()
        for piece in output:
            # Another machine's clock may be behind.
            at = max(at, (piece.at or 0.0) - run.started_at)
            events.append((at, Code.OUTPUT, piece.data))
            size += len(piece.data)
            if size >= PIECE_BYTES:
                file.append(events, last=False)
                size, events = 0, []
        end = f"{run.state.value.replace('_', ' ')} {run.code}"
        at = max(at, (run.ended_at or 0.0) - run.started_at)
        file.append([*events, (at, Code.MARKER, end.encode())], last=True)
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
