"""Fuzz the parsers: `python fuzz/run.py [--seconds 600] [NAME …]`.

Without `--seconds` each target gets as many inputs as half a second takes, made of one seed: `script/test`
runs this, so that chance does not decide what lands. With it, which is for all targets together, others each
time. The committed corpus is read and never written; what is new goes to a temporary folder. The target `kit`
is in C, and is left out where there is no clang. Exit status: 0 nothing found, 1 a target failed, 2 it could
not run (no atheris, no such target).
"""

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGETS = {
    "connect": 4_000,
    "proxyproto": 20_000,
    "target": 75_000,
    "sshkey": 60_000,
    "frames": 20_000,
    "annotations": 15_000,
    "oidc": 90_000,
    "login": 95_000,
    "webauthn": 450,
    "tunnel": 15_000,
    "kit": 10_000,
}
"""How many inputs each gets where no time is given."""
KIT = HERE.parent / "deploy/kit/source"
KIT_PARTS = (
    "tunnel/session",
    "tunnel/stream",
    "holder/bytes",
    "holder/place",
    "text",
    "environment",
)
"""What kit.c uses and does not include."""
CFLAGS = ("-g", "-O1", "-std=gnu17", "-D_GNU_SOURCE", "-fno-sanitize-recover=all")


def main() -> int:
    arguments = argparse.ArgumentParser(description="Fuzz the parsers of Stagedoor.")
    arguments.add_argument("--seconds", type=int, help="for all targets together")
    arguments.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TARGETS)}")
    chosen = arguments.parse_args()
    unknown = set(chosen.names) - set(TARGETS)
    if unknown:
        print(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
        return 2
    if importlib.util.find_spec("atheris") is None:
        print(
            "atheris is not installed, so nothing was fuzzed; 'uv sync --group fuzz' or"
            " 'pip install atheris' installs it (Linux, Python up to 3.13)"
        )
        return 2
    names = chosen.names or list(TARGETS)
    if "kit" in names and shutil.which("clang") is None:
        print("kit: not fuzzed; as root: apt-get install clang")
        names.remove("kit")
    findings = Path(tempfile.mkdtemp(prefix="stagedoor-fuzz-"))
    total, failed = 0, []
    for name in names:
        if chosen.seconds is None:
            bound = [f"-runs={TARGETS[name]}", "-seed=1"]
        else:
            bound = [f"-max_total_time={max(1, chosen.seconds // len(names))}"]
        inputs, passed = fuzz(name, bound, findings / name)
        total += inputs
        if not passed:
            failed.append(name)
    print(f"total: {total:,} inputs; {len(failed)} of {len(names)} targets failed; see {findings}")
    return 1 if failed else 0


def fuzz(name: str, bound: list[str], findings: Path) -> tuple[int, bool]:
    """Run one target; return how many inputs it was given and whether it withstood them.

    `bound` is libFuzzer's option that says when to end.
    """
    grown = findings / "corpus"
    grown.mkdir(parents=True)
    dictionary = HERE / f"{name}.dict"
    harness = (
        [build_kit(findings)] if name == "kit" else [sys.executable, str(HERE / "harness.py"), name]
    )
    command = [*harness, *bound, "-print_final_stats=1", "-timeout=5"]
    command += [f"-artifact_prefix={findings}/", "-verbosity=0", "-close_fd_mask=1"]
    command += [f"-dict={dictionary}"] if dictionary.exists() else []
    command += [str(grown), str(HERE / "corpus" / name)]
    result = subprocess.run(
        command, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, text=True,
        errors="replace", env={**os.environ, "PYTHONHASHSEED": "0"},
    )  # fmt: skip
    executed = re.search(r"stat::number_of_executed_units:\s*(\d+)", result.stdout)
    inputs = int(executed[1]) if executed else 0
    # A run that gave no input, or no account of itself, has proven nothing.
    passed = result.returncode == 0 and inputs > 0
    print(f"{name}: {inputs:,} inputs: {'nothing found' if passed else 'FAILED'}")
    if not passed:
        print(result.stdout[-4000:])
        for found in sorted(p for p in findings.iterdir() if p.is_file()):
            print(f"reproduce: {' '.join(harness)} {found}")
    return inputs, passed


def build_kit(folder: Path) -> str:
    """Compile the target in C, and return its path."""
    program = str(folder / "kit")
    parts = [str(KIT / f"{part}.c") for part in KIT_PARTS]
    sanitize = "-fsanitize=fuzzer,address,undefined"
    subprocess.run(
        ["clang", *CFLAGS, sanitize, "-o", program, str(HERE / "kit.c"), *parts], check=True
    )
    return program


if __name__ == "__main__":
    sys.exit(main())
