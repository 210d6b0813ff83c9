"""The first stage: who is this? A credential goes in; an `Identity` or a `Denial` comes out.

What may never enter: what somebody may do (that is `authz`), where users are stored, and how a
credential travelled. No secret leaves this package, not even in a repr.
"""
