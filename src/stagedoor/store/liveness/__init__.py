"""Detecting which processes that share a store are alive, and closing the sessions of dead ones."""
