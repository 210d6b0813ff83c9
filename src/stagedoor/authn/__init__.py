"""The first stage, authentication: a credential goes in; an `Identity` or a `Denial` comes out.

This package never learns what a user may do (that is `authz`), where users are stored, or how a
credential was transported. No secret leaves it, not even in a repr.
"""
