"""The client of the Kubernetes API, which satisfies `shells.kubernetes.ports.Cluster`.

`access` has the API's address and our credentials, `http` carries requests, `cluster` has the verbs, `watch`
follows changes, and `election` agrees on one leader. No other package talks to the API. This one knows
nothing about shells: neither how they are made, nor when, nor their names and labels.
"""
