"""The fourth stage: where the shells of apps come from, and which addresses they may have.

Each kind of shell (`local`, `static`, `kubernetes`) has an adapter behind `ports.Shells`. Two things must
stay out: the decision on access (a `Grant` is an argument here, never created), and the bytes of a session
that only passes through the gateway.
"""
