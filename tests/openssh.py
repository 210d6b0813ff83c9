"""What OpenSSH's client is told in tests that are not about how keys are exchanged."""

KEX = "KexAlgorithms=curve25519-sha256"
"""By default it takes sntrup761x25519-sha512 (ssh_config(5)), which Debian 12's computes for a tenth of a
second. `script/demo --check`, tests/login, tests/bare and tests/ssh/test_algorithms.py leave it as it is."""
