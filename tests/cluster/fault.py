"""The one error of the cluster, told as it is to whoever asked."""


class ClusterError(Exception):
    """Why the cluster cannot do what was asked, and the command that helps. Its text is for people."""
