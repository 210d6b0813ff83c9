"""The sshd kit (`deploy/kit/`) in real containers: runc, several images, OpenSSH's own client."""
