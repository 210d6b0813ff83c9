"""Terminals in the browser and of `stagedoor attach`, and what is asked about them."""
