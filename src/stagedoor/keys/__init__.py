"""Key files, the two certificate authorities, and the sealing of recordings; the only place that
imports `cryptography` and `pyrage`.

What may never enter: who may have a certificate (the caller has decided that), policy, sockets.
A private key never leaves this package except into its own file.
"""
