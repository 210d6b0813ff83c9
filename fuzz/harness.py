"""Hand one fuzz target to atheris: `python fuzz/harness.py NAME [libFuzzer options and folders]`.

A target is a module beside this one with `check(received: bytes)`, which fails an assertion on
whatever must not be, and `MAX_BYTES`. `fuzz/run.py` is the way to run several.
"""

import importlib
import sys

import atheris


def main() -> None:
    name, *options = sys.argv[1:]
    with atheris.instrument_imports(
        include=["stagedoor.wire", "stagedoor.oidc", "stagedoor.laptop", "stagedoor.authn", "fido2"]
    ):
        target = importlib.import_module(name)
    atheris.Setup([sys.argv[0], f"-max_len={target.MAX_BYTES}", *options], target.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
