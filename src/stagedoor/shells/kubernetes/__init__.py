"""Shells on Kubernetes.

`derive` derives a shell from its app. `live` watches a namespace, waits for shells to start, diagnoses
failures, and decides when a shell starts and ends. The API is behind `ports.Cluster`, whose only adapter is
the `kube` package. The gateway uses this package to request and dial shells (`adapter`), the controller
(`stagedoor.controller`) to create and remove them.
"""
