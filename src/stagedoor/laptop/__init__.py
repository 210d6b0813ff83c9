"""The programs of a developer's laptop, beside ssh, for a machine that may have nothing but Python 3.8.

The folder is what the client file of a gateway contains (`onefile`). So its modules import only the standard
library, each other, and the modules that `onefile` names. What needs the installed package is in `client`.
"""
