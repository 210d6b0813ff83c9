"""The developer's end: what runs on a laptop, beside ssh.

Nothing of the gateway's story may enter here: no flow, no stage, no store, no CA's private key.
`tunnel` goes further: it is one file that imports the standard library only, because it runs on
every ssh and must work when copied to a machine that has no Stagedoor.
"""
