"""The how-tos, run on machines that have nothing on them."""
