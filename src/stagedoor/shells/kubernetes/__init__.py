"""Shells on Kubernetes: what a shell is made of, when it is wanted, and why it did not start.

Here are values and decisions only: the API is behind `ports.Cluster`, whose one adapter is the
`kube` package. Two parts use this: the gateway, which knocks and dials (`adapter`), and the
controller, which makes and removes (`stagedoor.controller`).
"""
