"""The controller: makes the shells that somebody asked for, keeps them right, and removes them.

One of several replicas works at a time. What it decides by is pure and lies in
`stagedoor.shells.kubernetes`; here are the loop, the order of its writes, and what it counts. What
may never enter: anything of a developer's session, and the API's protocol (see `Cluster`).
"""
