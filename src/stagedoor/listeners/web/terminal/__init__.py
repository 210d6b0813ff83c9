"""Terminals of the browser and of `stagedoor attach`, and the API to list, share and end them."""
