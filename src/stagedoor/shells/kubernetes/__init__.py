"""Shells on Kubernetes: what a shell is made of, when it is wanted, and why it did not start.

`derive` makes a shell out of its app; `live` sees a namespace, starts a shell and finds out why it does
not start. The API is behind `ports.Cluster`, whose one adapter is the `kube` package. Two parts use
this: the gateway, which asks for them and dials (`adapter`), and the controller, which makes and removes
(`stagedoor.controller`).
"""
