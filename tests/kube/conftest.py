"""A real cluster for whatever speaks with one."""

from tests.cluster.fixtures import cluster, fresh_namespace
from tests.kube.house import kit, make_house

__all__ = ["cluster", "fresh_namespace", "kit", "make_house"]
