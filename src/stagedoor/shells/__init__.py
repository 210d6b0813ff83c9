"""The fourth stage: where apps' shells come from, and which addresses they may have.

One adapter for each kind (`local`, `static`), all alike behind `ports.Shells`. What may never
enter: who may use a shell (a `Grant` is asked for, never made), and bytes of a session that only
passes through the gateway.
"""
