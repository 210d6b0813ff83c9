"""A real Kubernetes node on this machine, for tests: started in seconds, gone without a trace.

The node lives in mount, network and PID namespaces of its own, so whatever ends its first process
ends every process, mount and firewall rule of it, even a SIGKILL at any moment. What stays until
`down` or the next `up` is one veth pair, the cgroups and the state folder.

Needs nothing but Python's standard library and the programs named in `needs.py`: it must work
before there is an environment.
"""
