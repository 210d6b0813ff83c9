"""The list of recordings and their player in the browser."""
