"""Putting the parts together, and running them: the only place that names concrete classes.

Processes and signals live here; protocols, decisions, SQL and sockets do not.
"""
