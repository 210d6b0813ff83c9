"""A real cluster for whatever speaks with one."""

from tests.fixtures.cluster import cluster, fresh_namespace, kit, make_kube

__all__ = ["cluster", "fresh_namespace", "kit", "make_kube"]
