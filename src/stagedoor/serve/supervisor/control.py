"""What the supervisor and a worker say to each other: JSON lines over the worker's stdin and stdout.

The end of the worker's stdin means that the supervisor is gone: the worker then drains by itself.
"""

from typing import Literal

import msgspec

from stagedoor.model.metric import Series


class StartMessage(msgspec.Struct, frozen=True, tag="begin"):
    """First line to a worker: the settings as they were checked, and the sockets that it inherits.

    `sockets` pairs a listener's kind with a file descriptor. `own_ports` are those of every listener
    of this gateway, whichever process answers there.
    """

    settings: str
    settings_name: str
    instance: str
    sockets: tuple[tuple[Literal["tunnel", "tunnel-tls", "ssh", "web", "web-tls"], int], ...]
    own_ports: tuple[int, ...] = ()


class Drain(msgspec.Struct, frozen=True, tag="drain"):
    """Accept no more. `timeout_s`: close what is left after it; None: wait until all have left."""

    timeout_s: float | None


class Close(msgspec.Struct, frozen=True, tag="close"):
    """Close everything now and exit."""


class Up(msgspec.Struct, frozen=True, tag="up"):
    """From a worker: it accepts connections."""


class DrainReport(msgspec.Struct, frozen=True, tag="left"):
    """From a worker that drains, and so accepts no more: how many sessions are left."""

    sessions: int


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """From a worker that cannot start: one line that says why."""

    message: str


class Sign(msgspec.Struct, frozen=True, tag="sign"):
    """From a worker: a certificate is wanted for the key of a sign-in (`admin.certificates.user_signer`)."""

    id: int
    user: str
    sign_in: int
    public_key: str
    ends_at: float


class Signed(msgspec.Struct, frozen=True, tag="signed"):
    """To the worker that asked by `id`.

    A certificate of None was not signed: then `message` is for the person. A `retry_after_s` that is set says
    that it was asked for too often, `no_grant` that the person may enter no app.
    """

    id: int
    certificate: str | None
    message: str = ""
    retry_after_s: int | None = None
    no_grant: bool = False


class MetricsMessage(msgspec.Struct, frozen=True, tag="measured"):
    """From a worker: what it has counted since it last said so, and what it sees `now` (`serve.metrics`)."""

    added: tuple[tuple[Series, float], ...] = ()
    now: tuple[tuple[Series, float], ...] = ()


ToWorker = StartMessage | Drain | Close | Signed
FromWorker = Up | DrainReport | Failed | Sign | MetricsMessage

_encoder = msgspec.json.Encoder()
_to_worker: msgspec.json.Decoder[ToWorker] = msgspec.json.Decoder(ToWorker)
_from_worker: msgspec.json.Decoder[FromWorker] = msgspec.json.Decoder(FromWorker)


def line(message: ToWorker | FromWorker) -> bytes:
    return _encoder.encode(message) + b"\n"


def read_to_worker(text: bytes) -> ToWorker:
    return _to_worker.decode(text)


def read_from_worker(text: bytes) -> FromWorker:
    return _from_worker.decode(text)
