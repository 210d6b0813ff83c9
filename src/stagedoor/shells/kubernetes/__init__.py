"""Shells on Kubernetes.

`derive` derives a shell from its app. `live` watches a namespace, waits for the start of a shell, diagnoses
failures, and decides when a shell starts and ends. The API is behind `ports.Cluster`, whose only adapter is
the `kube` package. The gateway uses this package to ask for shells and to dial them (`adapter`), the
controller to create and remove them (`stagedoor.controller`).
"""
