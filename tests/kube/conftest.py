"""A real cluster for whatever speaks with one."""

from tests.cluster.fixtures import cluster, fresh_namespace
from tests.kube.gateway import kit, make_kube

__all__ = ["cluster", "fresh_namespace", "kit", "make_kube"]
