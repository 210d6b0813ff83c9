"""The fourth stage: the sources of apps' shells, and the addresses that shells may have.

Each kind of shell (`local`, `static`, `kubernetes`) has an adapter behind `ports.Shells`. What may never
enter: the decision on access (a `Grant` is an argument here, never made), and the bytes of a session that
only passes through the gateway.
"""
