"""The definitions of all metrics of the gateway.

`docs/reference/metrics.md` and the dashboard are generated from these. No label names a user, an app or an
address, because the number of series must not grow with the number of users, and because the metrics page has
no login.
"""

from stagedoor.model.denial import Reason
from stagedoor.model.identity import Method
from stagedoor.model.metric import OTHER, Metric, MetricKind
from stagedoor.model.session import AccessMethod, EndReason

ACCESS = tuple(AccessMethod)
STEPS = (
    "loading",
    "signing the host key",
    "entering the directory",
    "listening",
    "starting the process",
    "waiting for the controller",
    "creating the pod",
    "waiting for the last shell to end",
    "scheduling",
    "pulling image",
    "mounting volumes",
    "starting container",
    "waiting for sshd",
    OTHER,
)
"""The steps of a start, by the names that the kinds of shells use."""
QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Buckets in seconds, from a commit on a fast disk to the time after which a login is refused."""
STARTS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Buckets in seconds, from a local shell to a pod for which the cluster first adds a node."""
LENGTHS = (1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0, 86400.0)
OPENED, DENIED = "opened", "denied"
READY, CANCELLED = "ready", "cancelled"

_COUNTER, _GAUGE, _HISTOGRAM = MetricKind.COUNTER, MetricKind.GAUGE, MetricKind.HISTOGRAM

READY_NOW = Metric("stagedoor_gateway_ready", _GAUGE, "1 while people are let in.")
DRAINING = Metric("stagedoor_gateway_draining", _GAUGE, "1 while it stops.")
WORKERS = Metric("stagedoor_gateway_workers", _GAUGE, "Worker processes that accept connections.")
WANTED = Metric("stagedoor_gateway_workers_wanted", _GAUGE, "Worker processes as set.")
DEATHS = Metric("stagedoor_gateway_worker_deaths", _COUNTER, "Workers that ended unasked.")
LEFT = Metric("stagedoor_gateway_sessions_draining", _GAUGE, "Open sessions in workers that drain.")
BUILD = Metric(
    "stagedoor_build_info",
    _GAUGE,
    "Which program runs; always 1.",
    {"version": (), "python": ()},
)
CERTIFICATE = Metric(
    "stagedoor_certificate_remaining_seconds",
    _GAUGE,
    "Time until a certificate expires, negative once it has. `tls`: `tunnel.certificate_file`; `ssh_host`: "
    "`ssh.host_certificate_file`. The keys of the CAs never expire.",
    {"certificate": ("tls", "ssh_host")},
    unit="seconds",
)
LOGINS = Metric(
    "stagedoor_logins",
    _COUNTER,
    "Sessions that were opened in the audit, and attempts that were denied.",
    {"method": ACCESS, "result": (OPENED, DENIED)},
)
RESUMES = Metric(
    "stagedoor_session_resumes",
    _COUNTER,
    "Returns of clients of `stagedoor tunnel` to their session over another connection.",
)
DENIALS = Metric(
    "stagedoor_denials",
    _COUNTER,
    "Attempts that were denied, by the reason in the audit.",
    {"method": ACCESS, "reason": tuple(Reason)},
)
SESSIONS = Metric("stagedoor_sessions", _GAUGE, "Sessions that are open now.", {"method": ACCESS})
LENGTH = Metric(
    "stagedoor_session_length_seconds",
    _HISTOGRAM,
    "How long the sessions lasted that are over.",
    {"method": ACCESS},
    unit="seconds",
    buckets=LENGTHS,
)
ENDS = Metric(
    "stagedoor_session_ends",
    _COUNTER,
    "Sessions that are over, by the reason in the audit. `unreached`: the shell did not answer.",
    {"method": ACCESS, "end": tuple(EndReason)},
)
BYTES = Metric(
    "stagedoor_relay_bytes",
    _COUNTER,
    "Bytes carried. `sent`: from developers to shells.",
    {"direction": ("sent", "received")},
    unit="bytes",
)
STARTED = Metric(
    "stagedoor_shell_starts",
    _COUNTER,
    "Waits for a shell that did not run yet.",
    {"result": (READY, DENIED, CANCELLED)},
)
START_STEP = Metric(
    "stagedoor_shell_start_step_seconds",
    _HISTOGRAM,
    "How long developers waited in each step of a shell's start.",
    {"step": STEPS},
    unit="seconds",
    buckets=STARTS,
)
AUDIT_OPEN = Metric(
    "stagedoor_audit_open_seconds",
    _HISTOGRAM,
    "How long a login waited until it was durable in the audit.",
    unit="seconds",
    buckets=QUICK,
)
AUDIT_BACKLOG = Metric(
    "stagedoor_audit_backlog_events", _GAUGE, "Audit events not written yet.", unit="events"
)
AUDIT_FAILING = Metric(
    "stagedoor_audit_failing",
    _GAUGE,
    "1 while the audit cannot be written: then every login is denied.",
    greatest=True,
)
SINK_FAILING = Metric(
    "stagedoor_audit_sink_failing",
    _GAUGE,
    "1 while a sink of the audit takes no events. Sinks are named by `audit.sinks`.",
    {"sink": ()},
)
SINK_BACKLOG = Metric(
    "stagedoor_audit_sink_backlog_events",
    _GAUGE,
    "Events that a sink of the audit has not got.",
    {"sink": ()},
    unit="events",
)
STORE_TIME = Metric(
    "stagedoor_store_transaction_seconds",
    _HISTOGRAM,
    "How long a transaction of the store took, its statements included.",
    {"operation": ("read", "write", "append")},
    unit="seconds",
    buckets=QUICK,
)
STORE_FAILURES = Metric(
    "stagedoor_store_failures",
    _COUNTER,
    "Transactions of the store that failed.",
    {"operation": ("read", "write", "append")},
)
POLICY_AGE = Metric(
    "stagedoor_policy_age_seconds",
    _GAUGE,
    "Time since the policy was last read from the store. After 30 s all logins are refused.",
    unit="seconds",
    greatest=True,
)
POLICY_VERSION = Metric(
    "stagedoor_policy_version",
    _GAUGE,
    "The version of the policy in force. Differs between gateways for a second at most.",
    greatest=True,
)
SIGN_INS = Metric(
    "stagedoor_sign_ins",
    _COUNTER,
    "Browsers that signed in to the WebShell, by the credential. Refused ones are denials.",
    {"credential": tuple(Method)},
)
WEBSOCKETS = Metric(
    "stagedoor_web_terminals",
    _GAUGE,
    "WebSockets of terminals, each served by a holder in its shell.",
)
HOLDERS = Metric(
    "stagedoor_holders",
    _GAUGE,
    "Terminals that clients have open. A terminal that is open in two workers counts twice; one that no "
    "client has open is not counted.",
)
RECORDING = Metric("stagedoor_recordings", _GAUGE, "Terminals that are recorded now.")
RECORDED = Metric(
    "stagedoor_recordings_ended",
    _COUNTER,
    "Recordings that are over. `failed`: what came later is not recorded.",
    {"result": ("complete", "failed")},
)
LAG = Metric(
    "stagedoor_event_loop_lag_seconds",
    _HISTOGRAM,
    "How much later than due each worker's event loop woke, once a second.",
    unit="seconds",
    buckets=QUICK,
)

METRICS = (
    *(READY_NOW, DRAINING, WORKERS, WANTED, DEATHS, LEFT, BUILD, CERTIFICATE),
    *(LOGINS, DENIALS, SESSIONS, LENGTH, ENDS, BYTES, STARTED, START_STEP),
    *(AUDIT_OPEN, AUDIT_BACKLOG, AUDIT_FAILING, SINK_FAILING, SINK_BACKLOG),
    *(STORE_TIME, STORE_FAILURES),
    *(POLICY_AGE, POLICY_VERSION, SIGN_INS, WEBSOCKETS, HOLDERS, RECORDING, RECORDED, LAG),
)
