"""Constructs the parts and runs them: the only package that names concrete classes.

Processes and signals live here; protocols, decisions, SQL and sockets do not.
"""
