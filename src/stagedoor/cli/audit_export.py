"""`stagedoor audit export`, `verify` and `key`: the audit as a chain of lines that proves its integrity."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click

from stagedoor.admin.audit import chain as audit_chain
from stagedoor.admin.service import AdminService, open_service
from stagedoor.audit.chain import NAMESPACE
from stagedoor.audit.verify import Report, read_checkpoints
from stagedoor.audit.verify import verify as verify_lines
from stagedoor.cli import show
from stagedoor.cli.installation import Installation
from stagedoor.keys.files import format_public_line
from stagedoor.keys.signing import find_fingerprint, find_signer
from stagedoor.model.errors import RefusedError, StagedoorError
from stagedoor.settings.settings import Settings
from stagedoor.wire.ssh.key import KeyRefused, parse_public_key

_LONGEST = 16 * 1024 * 1024
"""The most bytes of a line. A gateway never writes a longer one."""
_KEYS = 64 * 1024


class NotVerifiedError(StagedoorError):
    """No line is wrong, but no checkpoint confirms that the gateway wrote them."""

    exit_code = 5


VERIFY_EXIT_CODES = (
    "\b\nExit codes:\n  0  the lines are complete and unchanged\n"
    "  1  a line was changed, inserted or moved, or is missing\n"
    "  2  wrong usage, or --against has no checkpoint\n  5  no checkpoint confirms a line"
)
_FILES = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
_Numbered = tuple[str, int, bytes]


@click.command(
    epilog=show.make_epilog(
        "stagedoor audit export > audit.jsonl",
        "stagedoor audit export --after 120000 >> audit.jsonl",
    ),
)
@click.option("--after", type=click.IntRange(min=0), default=0, metavar="SEQ",
              help="Only events after the one with this number.")  # fmt: skip
@click.option("--follow", "-f", is_flag=True, help="Print new events as they come, until Ctrl-C.")
@click.pass_obj
def export(installation: Installation, after: int, follow: bool) -> None:
    """Print every event as a line of the chain.

    Each line has the SHA-256 of the line before as `prev`. A checkpoint is signed first, so that
    `stagedoor audit verify` can confirm all of it.
    """
    settings = installation.settings
    with open_service(settings, create=False) as service:
        _sign(service, settings)
        try:
            for line in audit_chain.export(service, after=after, follow=follow):
                if line is None:
                    sys.stdout.flush()
                else:
                    print(line.text)
        except KeyboardInterrupt:
            return  # the normal way to end it, not a failure


def _sign(service: AdminService, settings: Settings) -> None:
    """Sign a checkpoint if possible. A full disk or a missing key must not prevent the export."""
    try:
        signing = audit_chain.Checkpoints(
            service.database, lambda: audit_chain.load_audit_key(settings), service.instance
        )
        signing.write(service.clock())
    except StagedoorError as error:
        show.note(f"No checkpoint can be signed, so the last lines are not confirmed: {error}")


@click.command(epilog=show.make_epilog("stagedoor audit key > audit_key.pub"))
@click.pass_obj
def key(installation: Installation) -> None:
    """Print the public key that signs checkpoints."""
    click.echo(
        f"{format_public_line(audit_chain.load_audit_key(installation.settings))} stagedoor audit"
    )


@click.command(
    epilog=show.make_epilog(
        "stagedoor audit verify --key audit_key.pub audit.jsonl.2 audit.jsonl.1 audit.jsonl",
        "zcat audit.jsonl.*.gz | stagedoor audit verify --key audit_key.pub - audit.jsonl",
        "stagedoor audit verify --key audit_key.pub --against from-syslog.jsonl audit.jsonl",
        codes=VERIFY_EXIT_CODES,
    ),
)
@click.argument("files", nargs=-1, required=True, type=_FILES, metavar="FILE…")
@click.option("--key", "keys", multiple=True, type=_FILES,
              help="File with the public keys that may sign, from `stagedoor audit key`.")  # fmt: skip
@click.option("--against", type=_FILES,
              help="Another copy; FILE must have all lines that its checkpoints cover.")  # fmt: skip
@click.option("--from-start", is_flag=True,
              help="Fail unless the first line is the first that the gateway wrote.")  # fmt: skip
@show.json_option
def verify(
    files: tuple[Path, ...],
    keys: tuple[Path, ...],
    against: Path | None,
    from_start: bool,
    json_: bool,
) -> None:
    """Check that exported lines are complete and unchanged.

    It needs only the files, oldest first, and neither a gateway nor settings. It names the first line that
    was changed, removed, inserted or moved. --from-start detects lines that are missing at the beginning,
    --against those at the end. Without --key, every signature is accepted, and the fingerprints are printed
    for you to compare.
    """
    trusted = frozenset(_read_fingerprints(keys)) if keys else None
    others = (
        read_checkpoints(_read_lines((against,)), _find_signer, trusted=trusted) if against else []
    )
    if against and not others:
        raise RefusedError(
            f"{against} has no checkpoint{' by a given key' if trusted else ''} to compare with"
        )
    report = verify_lines(_read_lines(files), _find_signer, trusted=trusted, against=others)
    if json_:
        show.print_json(report)
    else:
        _print_report(report, trusted is not None)
    if report.fault is not None:
        raise StagedoorError(f"these are not the lines that the gateway wrote: {report.fault}")
    if not report.confirmed:
        raise NotVerifiedError(
            "no line is confirmed by a checkpoint; export again: stagedoor audit export"
        )
    if from_start and not report.from_start:
        raise StagedoorError(
            f"these are not all lines that the gateway wrote: those before seq {report.first} are missing"
        )


def _find_signer(message: str, signature: str) -> str | None:
    return find_signer(message, signature, NAMESPACE)


def _read_fingerprints(files: tuple[Path, ...]) -> Iterator[str]:
    for file in files:
        with file.open(encoding="utf-8", errors="replace") as lines:
            for text in lines.read(_KEYS).splitlines():
                if not text.strip() or text.startswith("#"):
                    continue
                public_key = parse_public_key(text)
                if isinstance(public_key, KeyRefused):
                    raise RefusedError(f"{file} holds no public key: {public_key.reason}")
                yield find_fingerprint(public_key.line)


def _read_lines(files: tuple[Path, ...]) -> Iterator[_Numbered]:
    for file in files:
        if str(file) == "-":
            yield from _number_lines("stdin", sys.stdin.buffer)
        else:
            with file.open("rb") as opened:
                yield from _number_lines(str(file), opened)


def _number_lines(name: str, file: BinaryIO) -> Iterator[_Numbered]:
    number = 0
    while text := file.readline(_LONGEST):
        number += 1
        yield name, number, text.removesuffix(b"\n")


def _print_report(report: Report, are_keys_given: bool) -> None:
    if report.lines:
        click.echo(
            f"{show.count(report.lines, 'line')}, seq {report.first} to {report.last}"
            + ("" if report.from_start else f"; those before seq {report.first} are missing")
        )
    if report.repeated:
        click.echo(f"{show.count(report.repeated, 'line')} more, delivered twice")
    for name, count in report.keys.items():
        click.echo(f"{show.count(count, 'checkpoint')} signed by {name}")
    if report.fault is not None:
        return
    if report.confirmed:
        click.echo(f"confirmed up to seq {report.confirmed}")
    if report.confirmed < report.last:
        click.echo(f"not confirmed by a checkpoint: lines after seq {report.confirmed}")
    if report.keys and not are_keys_given:
        show.note(
            "Compare the fingerprints, or give --key: a forger can sign with a key of their own."
        )
