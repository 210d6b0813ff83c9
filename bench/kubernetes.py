"""Shells on Kubernetes: the steps of a start, the time of a login, and the cost of a controller.

    python bench/kubernetes.py [--starts N] [--plain N] [--warm N] [--apps N] [--idle-s S]
        [--kit-way WAY…] [--write]

The starts run on the test cluster (script/cluster up), with the kit of deploy/kit and an app whose
image is on the node; each is measured from no pod at all to sshd's banner through CONNECT. The
figures for many apps come from a real etcd and kube-apiserver with simulated apps. Everything takes
about ten minutes. `--write` writes every value, the plot and the tables of
docs/performance-kubernetes.md.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import kube_many
import kube_page
import kube_starts
from measure import busy_s, machine

RESULT = kube_page.DOCS / "performance" / "kubernetes.json"


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--starts", type=int, default=50, help="0: none; default %(default)s")
    parser.add_argument("--plain", type=int, default=20, help="starts of a plain pod")
    parser.add_argument("--warm", type=int, default=30, help="logins by each way")
    parser.add_argument("--apps", type=int, default=500, help="0: none; default %(default)s")
    parser.add_argument("--idle-s", type=float, default=30, help="how long an idle one is watched")
    parser.add_argument(
        "--kit-way",
        action="append",
        choices=list(kube_starts.WAYS),
        help="how the kit comes; may be given more than once; default: sibling and image-volume",
    )
    parser.add_argument("--write", action="store_true", help="write docs/")
    arguments = parser.parse_args()
    ways = arguments.kit_way or list(kube_page.SHOWN)
    everything = arguments.starts and arguments.plain and arguments.warm and arguments.apps
    if arguments.write and not (everything and set(ways) >= set(kube_page.SHOWN)):
        parser.error("--write wants all of it")
    if bool(arguments.plain) != bool(arguments.warm):
        parser.error("--plain and --warm go together")
    began = time.monotonic(), busy_s()
    result: kube_page.Result = {"idle_s": arguments.idle_s}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result["machine"] = _machine(folder)
        for part in ("one", "beside", "many"):
            (folder / part).mkdir()
        if arguments.starts:
            result["starts"] = kube_starts.measure_starts(folder / "one", ways, arguments.starts)
        if arguments.plain:
            result["seconds"] = kube_starts.measure_beside(
                folder / "beside", arguments.plain, arguments.warm
            )
        if arguments.apps:
            result["apps"] = arguments.apps
            result["costs"] = kube_many.measure(folder / "many", arguments.apps, arguments.idle_s)
    took_s = time.monotonic() - began[0]
    result["machine"]["load"] = (
        f"{(busy_s() - began[1]) / took_s / (os.cpu_count() or 1):.0%} of all cores were busy "
        f"during the {took_s / 60:.0f} minutes, the cluster's and the measuring's own work included"
    )
    for part, text in kube_page.parts(result).items():
        print(f"\n# {part}\n\n{text}")
    if arguments.write:
        RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
        for file in kube_page.write(result):
            print(f"{file} written")
    return 0


def _machine(folder: Path) -> dict[str, str]:
    known = machine(0, folder)
    wanted = ("when", "processor", "memory", "system", "stagedoor")
    rows = {key: known[key] for key in wanted}
    rows["load"] = ""
    return rows


if __name__ == "__main__":
    sys.exit(main())
