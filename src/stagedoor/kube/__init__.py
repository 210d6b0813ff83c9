"""The client of the Kubernetes API, which satisfies `shells.kubernetes.ports.Cluster`.

`access` has the API's address and the credentials, `http` carries requests, `cluster` has the verbs, `watch`
follows changes, and `election` agrees on a leader. No other package talks to the API. This one knows nothing
about shells: not how or when they are created, nor their names and labels.
"""
