"""The course of one session, from the parsed request to the last event in the audit.

`flow` has the steps in their order. `registry` keeps the live sessions, `revoke` decides which of them must
end, `line` makes the log line, and `runs` is for one-off tasks. No protocol, socket or table enters this
package: listeners translate the protocols, and `ports` has the interfaces of the rest.
"""
