"""Squid as a CONNECT proxy with Basic authentication by its own helper."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

from peers import NAME, PASSWORD, Door, Ground, MissingError, Peer
from peers.process import Process, free_port, program, version_of

HELPERS = (
    "/usr/lib/squid/basic_ncsa_auth",
    "/usr/lib64/squid/basic_ncsa_auth",
    "/usr/libexec/squid/basic_ncsa_auth",
)
# All other settings have the distribution's defaults.
SETTINGS = """\
workers 1
http_port 127.0.0.1:{port}
auth_param basic program {helper} {passwords}
auth_param basic children 1 startup=1 idle=1
auth_param basic realm bench
auth_param basic credentialsttl 2 hours
acl known proxy_auth REQUIRED
http_access allow CONNECT known
http_access deny all
cache deny all
access_log daemon:{folder}/access.log squid
cache_log {folder}/cache.log
pid_filename {folder}/squid.pid
coredump_dir {folder}
max_filedescriptors {files}
netdb_filename none
pinger_enable off
shutdown_lifetime 1 seconds
"""
SPARE_FILES = 200


def start(ground: Ground) -> Peer:
    """Start squid. Raises MissingError and StartError."""
    squid = program("squid")
    helper = next((path for path in HELPERS if Path(path).exists()), None)
    openssl = program("openssl")
    if squid is None or helper is None:
        raise MissingError("squid is not installed (apt-get install squid)")
    if openssl is None:
        raise MissingError("squid needs a password file, and openssl makes it: install openssl")
    folder = ground.folder / "squid"
    folder.mkdir()
    passwords = folder / "passwords"
    hashed = subprocess.run(
        [openssl, "passwd", "-apr1", "-stdin"],
        input=PASSWORD,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    passwords.write_text(f"{NAME}:{hashed}\n")
    _give_to_its_user(folder)
    port = free_port()
    file = ground.folder / "squid.conf"
    file.write_text(
        SETTINGS.format(
            port=port,
            helper=helper,
            passwords=passwords,
            folder=folder,
            files=2 * ground.tunnels + SPARE_FILES,
        )
    )
    process = Process([squid, "-N", "-f", str(file)], ground.folder / "squid.log")
    process.answers(port)
    return Peer(
        "squid",
        {
            name: Door(("127.0.0.1", port), ("127.0.0.1", upstream))
            for name, upstream in ground.upstreams.items()
        },
        process,
        version_of(squid, "-v"),
        "one line for each tunnel (access_log by its daemon); Basic by basic_ncsa_auth, cached",
    )


def _give_to_its_user(folder: Path) -> None:
    """Make the folder writable for the user to which a squid started by root changes (`proxy` or `squid`)."""
    if os.geteuid() != 0:
        return
    names = {entry.pw_name for entry in pwd.getpwall()}
    owner = next((name for name in ("proxy", "squid") if name in names), "nobody")
    for path in (folder, *folder.iterdir()):
        shutil.chown(path, owner)
