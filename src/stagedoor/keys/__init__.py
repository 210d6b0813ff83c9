"""Private keys: their files, the two certificate authorities, signatures, and sealed recordings.

A private key leaves this package only for its own file, or for a library that speaks SSH in this process.
Sockets and policy stay outside; the caller has already decided who may have a certificate.
"""
