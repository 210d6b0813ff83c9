"""Constructs a worker's parts from the settings; `serve.compose` puts them together."""
