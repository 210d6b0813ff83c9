"""Private keys: their files, the two certificate authorities, signatures, and the sealing of recordings.

A private key leaves this package only into its own file, or to a library that speaks SSH in this
process. Sockets and policy stay outside; the caller has already decided who may have a certificate.
"""
