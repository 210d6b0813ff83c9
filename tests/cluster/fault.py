"""The one error of the cluster, whose message is for the user as it is."""


class ClusterError(Exception):
    """Why the cluster cannot do what was asked, and the command that helps. Its text is for people."""
