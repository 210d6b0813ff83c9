"""Judges measured values: which are fine, and which need attention. Pure."""

from collections.abc import Collection, Sequence

from stagedoor.model.units import MIB
from stagedoor.serve.prepare import CERTIFICATE_SOON_S
from stagedoor.wire.finding import Finding, fail, ok, warn
from stagedoor.wire.rfc3339 import show_time

SLOW_FSYNC_S, HANGING_FSYNC_S = 0.05, 1.0
"""Every login waits for one fsync, and is denied after 5 s."""
SLOW_STORE_S, HANGING_STORE_S = 0.1, 2.0
LITTLE_SPACE, NO_SPACE = 512 * MIB, 32 * MIB
SKEW_S, WRONG_SKEW_S = 2.0, 30.0
"""Certificates are valid from five minutes ago; tokens and grants expire by each gateway's own clock."""
MAX_APPS = 5
FEW_DESCRIPTORS = 8192
"""A tunnel takes two descriptors."""
BUILT_AT = 1_764_000_000.0
"""A clock before this (November 2025) is wrong."""


def _grade(what: str, fix: str, *, is_bad: bool, is_poor: bool) -> Finding:
    if is_bad:
        return fail(what, fix)
    return warn(what, fix) if is_poor else ok(what)


def join_apps(apps: Collection[str]) -> str:
    """Return the names of apps for a line; if there are many, only the first."""
    return ", ".join([*sorted(apps)[:MAX_APPS], *(["…"] if len(apps) > MAX_APPS else [])])


def judge_fsync(took_s: Sequence[float], folder: str) -> Finding:
    """Judge the median of several fsyncs; `took_s` are their times in seconds."""
    median = sorted(took_s)[len(took_s) // 2]
    what = f"an fsync in {folder} takes {median * 1000:.1f} ms"
    fix = "put data_dir on a local disk that is not busy; every login waits for one fsync"
    return _grade(what, fix, is_bad=median >= HANGING_FSYNC_S, is_poor=median >= SLOW_FSYNC_S)


def judge_store_time(took_s: float, place: str) -> Finding:
    """Judge how long the store took to answer, in seconds."""
    what = f"{place} answers in {took_s * 1000:.1f} ms"
    fix = "look for a busy disk or database, or a slow network to it"
    return _grade(what, fix, is_bad=took_s >= HANGING_STORE_S, is_poor=took_s >= SLOW_STORE_S)


def judge_space(free_bytes: int, folder: str) -> Finding:
    """Judge the free space in `folder`."""
    what = f"{free_bytes // MIB} MiB are free in {folder}"
    fix = "free some space: on a full disk all logins are refused; recording.keep_days removes old recordings"
    return _grade(what, fix, is_bad=free_bytes < NO_SPACE, is_poor=free_bytes < LITTLE_SPACE)


def judge_clock(now: float, store_now: float | None) -> Finding:
    """Judge this machine's clock against the database server's; both are seconds since the epoch.

    `store_now` is None for a store in a file on this machine.
    """
    fix = "set the clock by NTP: timedatectl set-ntp true"
    if now < BUILT_AT:
        return fail(f"the clock says {show_time(now)}, which is in the past", fix)
    if store_now is None:
        return ok(f"the clock says {show_time(now)}; the store is on this machine")
    skew_s = now - store_now
    what = f"the clock is {abs(skew_s):.1f} s {'ahead of' if skew_s > 0 else 'behind'} the store's"
    return _grade(what, fix, is_bad=abs(skew_s) >= WRONG_SKEW_S, is_poor=abs(skew_s) >= SKEW_S)


def judge_descriptors(hard_limit: int) -> Finding:
    """Judge the limit of open file descriptors."""
    what = f"{hard_limit} file descriptors for each process"
    if hard_limit < FEW_DESCRIPTORS:
        tunnels = hard_limit // 2
        fix = f"a worker would carry some {tunnels} tunnels; set LimitNOFILE=524288 in the unit"
        return warn(what, fix)
    return ok(what)


def check_certificate(name: str, begins_at: float, ends_at: float, now: float, fix: str) -> Finding:
    """Judge a certificate's validity; all times are seconds since the epoch."""
    if now < begins_at:
        what = f"the certificate {name} is not valid before {show_time(begins_at)}"
        return fail(what, f"check this machine's clock, or {fix}")
    if now >= ends_at:
        return fail(f"the certificate {name} expired at {show_time(ends_at)}", fix)
    what = f"the certificate {name} is valid until {show_time(ends_at)}"
    return warn(what, fix) if ends_at - now < CERTIFICATE_SOON_S else ok(what)


def check_certificate_name(file: str, name: str, names: Collection[str]) -> Finding:
    """Judge whether `names`, which may begin with `*.`, cover the name that links lead to (RFC 9525 §6.3)."""
    parent = name.partition(".")[2]
    if name.lower() in names or (parent and f"*.{parent.lower()}" in names):
        return ok(f"{file} is for {name}")
    return warn(
        f"{file} is not for {name}, where web.public_url leads",
        "this is right if a proxy in front of the gateway has its own certificate; else get one for that "
        "name",
    )


def judge_ssh_greeting(shell: str, banner: bytes) -> Finding:
    """Judge the first line from a static shell's server."""
    if banner.startswith(b"SSH-2.0-"):
        return ok(f"{shell} says {banner.decode('ascii', 'replace')}")
    if banner.startswith(b"Not allowed at this time"):
        return fail(
            f"{shell}: its sshd refuses this gateway's address for a while (PerSourcePenalties): one "
            "developer's wrong key locks out all of them",
            "on that server, in sshd_config: PerSourcePenaltyExemptList with this gateway's address",
        )
    if banner.startswith(b"Exceeded MaxStartups"):
        return fail(f"{shell}: its sshd has too many logins at once", "raise MaxStartups there")
    if not banner:
        return fail(
            f"{shell} closes the connection without a greeting",
            "see its sshd's log, and hosts.deny there",
        )
    shown = banner[:60].decode("ascii", "replace")
    return fail(
        f"{shell} does not speak SSH: it sends {shown!r}", "correct host and port in its entry"
    )


def judge_host_key(shell: str, expected: Sequence[str], shown: str | None) -> Finding:
    """Judge the host key that a server shows.

    `expected` are lines `type base64 …`, as in the settings. `shown` is None if the server showed none.
    """
    if shown is not None and shown in {" ".join(line.split()[:2]) for line in expected}:
        return ok(f"{shell} has the host key of its entry")
    return fail(
        f"{shell} does not have the host key of its entry: it is another server, or its key has changed",
        f"find out which, then write the new key into host_keys: ssh-keyscan {shell.rpartition(' ')[2]}",
    )


def judge_host_certificate(shell: str, name: str, fault: str | None) -> Finding:
    """Judge the host certificate of a server without `host_keys`.

    `fault` is why ssh would not accept it as `name`, or None.
    """
    if fault is None:
        return ok(f"{shell} has a certificate of the host CA for {name}")
    return warn(
        f"{shell}: {fault}, so ssh refuses it as {name}, and so does direct login",
        f"stagedoor ca sign-host --name {name} KEY.pub, and HostCertificate in its sshd_config; for direct "
        "login host_keys in its entry suffice",
    )


def judge_user_ca(shell: str, account: str, *, is_accepted: bool) -> Finding:
    """Judge whether a server accepts a certificate of the user CA for one of the app's users."""
    if is_accepted:
        return ok(f"{shell} accepts certificates of the user CA for the account {account}")
    return warn(
        f"{shell} accepts no certificate of the user CA for the account {account}: direct login, the "
        "WebShell and sign-ins need that",
        "in its sshd_config: TrustedUserCAKeys, and AuthorizedPrincipalsFile with the app's users; "
        "docs/how-to/ssh-servers.md",
    )


def check_holder(shell: str, holder: str | None) -> Finding:
    """Judge whether the WebShell can be used in a shell, which needs a holder's command."""
    if holder is None:
        return ok(f"{shell} has no holder in its entry, so the WebShell refuses it")
    return ok(
        f"{shell} holds terminals with {holder!r}; try it with: stagedoor doctor APP --how web"
    )
