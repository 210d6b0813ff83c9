"""The only place that speaks to a Kubernetes API. It satisfies `shells.kubernetes.ports.Cluster`.

`access` says where the API is and who we are, `http` carries requests, `cluster` knows the verbs,
`watch` follows what changes, `election` agrees on one leader. What may never enter: what a shell is
made of, when one is wanted, names and labels of ours.
"""
