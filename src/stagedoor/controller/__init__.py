"""The controller, which creates the shells that developers request, keeps them up to date, and removes them.

Of several replicas, one works at a time. The decisions about shells are pure functions in
`stagedoor.shells.kubernetes`; this package has the loop, the order of the writes, and the metrics. It sees
nothing of developers' sessions, and nothing of the API's protocol (see `Cluster`).
"""
