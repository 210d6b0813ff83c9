"""Shells as they are in a cluster: what is seen of a namespace, how a start stands, and its diagnosis."""
