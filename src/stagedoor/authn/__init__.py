"""The first stage, authentication, which takes a credential and returns an `Identity` or a `Denial`.

This package does not know what a user may do (`authz` does), where users are stored, or how a credential was
transported. No secret leaves it, not even in a repr.
"""
