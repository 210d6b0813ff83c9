"""The developer's side: the programs that run on a laptop, beside ssh.

No part of the gateway may be imported here: no flow, no stage, no store, no CA's private key.
`tunnel` goes further: it is one file that imports only the standard library, because it runs on
every ssh and must work when copied to a machine without Stagedoor.
"""
