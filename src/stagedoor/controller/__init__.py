"""The controller: creates the shells that developers ask for, keeps them as they should be, and removes them.

One of several replicas works at a time. Its decisions are pure functions in `stagedoor.shells.kubernetes`;
this package has the loop, the order of the writes, and the metrics. What may never enter: anything of a
developer's session, and the API's protocol (see `Cluster`).
"""
