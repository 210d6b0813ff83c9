"""The codecs of terminals: the terminal protocol, what programs send to a terminal, and recordings."""
