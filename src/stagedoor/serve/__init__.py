"""Construction and running of the parts: the only package that names concrete classes.

Processes and signals live here; protocols, decisions, SQL and sockets do not.
"""
