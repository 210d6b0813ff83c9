"""`script/cluster`: the words of the command line."""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from tests.cluster import control, images, lifecycle, load, needs, programs
from tests.cluster.fault import ClusterError
from tests.cluster.place import HOST_ADDRESS, NODE_ADDRESS, Place, default_state

IMAGES = "images"
_PASSED_ON = ("kubectl", "helm")


def main() -> int:
    """Run one command; the exit status: 0, or 1 with the reason on stderr."""
    words, passed_on = split_arguments(sys.argv[1:])
    arguments = _parse(words)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    place = Place(Path(os.path.abspath(arguments.state)))  # noqa: PTH100 - links stay as they are
    try:
        return _run(place, arguments, passed_on)
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("cluster: interrupted; script/cluster down removes what is there", file=sys.stderr)
        return 130


def _run(place: Place, arguments: argparse.Namespace, passed_on: list[str]) -> int:
    """The exit status; `status` has 3 for a cluster that is not ready, as services have."""
    if arguments.command == "up":
        began = time.monotonic()
        lifecycle.up(place)
        print(_how_to_use(place, time.monotonic() - began))
    elif arguments.command == "down":
        lifecycle.down(place)
    elif arguments.command == "status":
        print(lifecycle.status(place))
        return 0 if lifecycle.is_ready(place) else 3
    elif arguments.command == "packages":
        print(" ".join(needs.missing_packages(needs.PROGRAMS | needs.FOR_IMAGES)))
    elif arguments.command == "check":
        if reason := lifecycle.why_not():
            raise ClusterError(reason)
    elif arguments.command == "build":
        programs.build(_chosen(arguments.tool))
        if IMAGES in arguments.tool:
            images.build_missing()
    elif arguments.command == "missing":
        absent = [tool.name for tool in programs.missing(_chosen(arguments.tool))]
        if IMAGES in arguments.tool and images.missing():
            absent.append(IMAGES)
        print(" ".join(absent))
    elif arguments.command == "kubeconfig":
        if not place.kubeconfig.exists():
            raise ClusterError(f"no cluster runs in {place.state}; script/cluster up")
        print(place.kubeconfig)
    elif arguments.command == "load-image":
        for what in arguments.image:
            file = Path(what)
            names = (
                load.load_file(place, file) if file.exists() else load.load_reference(place, what)
            )
            print("\n".join(names))
    elif arguments.command == "image":
        for name in arguments.name or images.names():
            load.load_once(place, images.build(name))
            print(images.reference(name))
    elif arguments.command in ("start", "stop"):
        control.order(place, f"{arguments.command} {arguments.program}")
    else:
        _pass_on(place, arguments.command, passed_on)
    return 0


def _chosen(names: list[str]) -> list[programs.Tool]:
    """The tools of these names, each once; all for none."""
    of_cluster = [tool.name for tool in programs.TOOLS]
    every = [each for name in names for each in (of_cluster if name == "cluster" else [name])]
    return [tool for tool in programs.ALL if not names or tool.name in every]


def _pass_on(place: Place, name: str, rest: list[str]) -> None:
    programs.build([programs.tool(name)])
    path = programs.program(name)
    if not place.kubeconfig.exists():
        raise ClusterError(f"no cluster runs in {place.state}; script/cluster up")
    os.environ["KUBECONFIG"] = str(place.kubeconfig)
    # What they remember of a cluster goes with it.
    os.environ["KUBECACHEDIR"] = str(place.state / "kubectl")
    for kind in ("CACHE", "CONFIG", "DATA"):
        os.environ[f"HELM_{kind}_HOME"] = str(place.state / "helm" / kind.lower())
    os.execv(path, [name, *rest])


def split_arguments(words: list[str]) -> tuple[list[str], list[str]]:
    """Separate our own arguments from those of the program to start."""
    commands = (
        place
        for place, word in enumerate(words)
        if not word.startswith("-") and words[place - 1 : place] != ["--state"]
    )
    command = next(commands, None)
    if command is None or words[command] not in _PASSED_ON:  # `build helm` is a command of ours
        return words, []
    return words[: command + 1], words[command + 1 :]


def _how_to_use(place: Place, took_s: float) -> str:
    return f"""\
The cluster is ready ({took_s:.1f} s). Its state is in {place.state}.
  kubectl:    script/cluster kubectl get pods -A    (or: export KUBECONFIG={place.kubeconfig})
  an image:   script/cluster load-image FILE.tar    (in pods: imagePullPolicy: IfNotPresent)
  addresses:  pods, Services and {NODE_ADDRESS} (the node) can be dialled from here;
              pods reach a server here at {HOST_ADDRESS}
  down:       script/cluster down"""


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="script/cluster", description="A real Kubernetes on this machine, for tests."
    )
    parser.add_argument(
        "--state",
        default=os.environ.get("STAGEDOOR_CLUSTER_STATE") or str(default_state()),
        help="the folder of the cluster (default: %(default)s, or $STAGEDOOR_CLUSTER_STATE)",
    )
    # Also behind the command, where it does not take the first one's default back.
    state = argparse.ArgumentParser(add_help=False)
    state.add_argument("--state", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, parents=[state])

    add("up", "start it, building the programs first if need be")
    add("down", "end it and remove everything of it")
    add("status", "say what runs")
    add("check", "say why it cannot run here, if it cannot")
    add("packages", "print the Debian packages that are missing for it")
    for command, text in (
        ("build", "build programs without starting it"),
        ("missing", "print those that are neither built nor here in a version that fits"),
    ):
        names = ["cluster", IMAGES, *(tool.name for tool in programs.ALL)]
        building = add(command, text)
        building.add_argument(
            "tool", nargs="*", choices=[[], *names], metavar="NAME",
            help="`cluster` for all that it runs, helm, traefik … (default: these); `images` for tests",
        )  # fmt: skip
    add("kubeconfig", "print the path of the administrator's kubeconfig")
    image = add("load-image", "bring images onto the node")
    image.add_argument("image", nargs="+", help="an OCI or Docker archive, or a name in buildah")
    test = add("image", "make test images and bring them onto the node")
    test.add_argument("name", nargs="*", help=f"of {', '.join(images.names())} (default: all)")
    for verb in ("start", "stop"):
        one = add(verb, f"{verb} one program of the node, kube-apiserver say")
        one.add_argument("program")
    for name in _PASSED_ON:
        commands.add_parser(name, help=f"run {name} against it, with whatever follows")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
