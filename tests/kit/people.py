"""The people who log in to the kit's sshd, and the keys and certificates that let them."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from stagedoor.wire.ssh.krl import encode_revoked_serials

SERIAL = 2**62 + 1


@dataclass
class People:
    """A user CA and a host CA, and persons with keys of theirs.

    alice and carol have user certificates, bob has a key that is registered, mallory has a key that is
    not, and a certificate of no CA of ours; carol's certificate is good but she is not admitted. The serial
    of each certificate is SERIAL.
    """

    folder: Path

    def __post_init__(self) -> None:
        for name in ("user_ca", "host_ca", "other_ca", "alice", "bob", "carol", "mallory", "host"):
            self._run("-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(self.key(name)))
        self._certify("user_ca", "alice")
        self._certify("user_ca", "carol")
        self._certify("other_ca", "mallory")
        self._run("-q", "-s", str(self.key("host_ca")), "-h", "-I", "app01.ssh", "-n", "app01.ssh")
        self.known_hosts = self.folder / "known_hosts"
        self.known_hosts.write_text(f"@cert-authority app01.ssh {self.public('host_ca')}")

    def key(self, name: str) -> Path:
        """Return a private key's file."""
        return self.folder / name

    def public(self, name: str) -> str:
        """Return a public key, with its line end."""
        return self.key(name).with_suffix(".pub").read_text()

    def lay_out(self, host: Path, shell: Path) -> None:
        """Write what the Secret and the ConfigMap would have."""
        host.mkdir()
        shell.mkdir()
        # As the kubelet leaves it: readable by more than the owner, which sshd would refuse.
        for source, target in (
            ("host", "ssh_host_ed25519_key"),
            ("host-cert.pub", "ssh_host_ed25519_key-cert.pub"),
        ):
            (host / target).write_bytes((self.folder / source).read_bytes())
            (host / target).chmod(0o444)
        (shell / "user_ca.pub").write_text(self.public("user_ca"))
        (shell / "authorized_principals").write_text("alice\n")
        (shell / "authorized_keys").write_text(self.public("bob"))
        (shell / "revoked_keys").write_bytes(encode_revoked_serials(b"", (), 0))

    def _certify(self, authority: str, name: str) -> None:
        public = self.key(name).with_suffix(".pub")
        signs = ("-q", "-s", str(self.key(authority)), "-z", str(SERIAL))
        self._run(*signs, "-I", name, "-n", name, str(public))

    def _run(self, *arguments: str) -> None:
        if "-h" in arguments:
            arguments = (*arguments, str(self.key("host").with_suffix(".pub")))
        subprocess.run(["ssh-keygen", *arguments], check=True, capture_output=True)
