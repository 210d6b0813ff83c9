"""The time of `stagedoor apply`: `python -m bench.apply`, as a process with its start.

It applies 2,000 users and 5,000 grants to an empty store, and shows the difference of 50,000 rows, which are
declared in JSON and in TOML.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 5


def write_set(folder: Path, users: int, grants: int, kind: str) -> None:
    """Write a set of so many users, each in a group, and grants."""
    people = [{"name": f"u{n}", "groups": [f"g{n % 200}"]} for n in range(users)]
    rules = [{"subject": f"group:g{n % 200}", "app": f"app{n}"} for n in range(grants)]
    folder.mkdir()
    if kind == "json":
        document = {"set": "bench", "users": people, "grants": rules}
        (folder / "access.json").write_text(json.dumps(document, indent=1))
        return
    lines = ['set = "bench"']
    for table, entries in (("users", people), ("grants", rules)):
        for entry in entries:
            lines += [f"[[{table}]]", *(f"{key} = {json.dumps(v)}" for key, v in entry.items())]
    (folder / "access.toml").write_text("\n".join(lines))


def measure(settings: Path, *arguments: str | Path) -> float:
    """Return the seconds that one run takes."""
    program = (sys.executable, "-m", "stagedoor", "--config", str(settings))
    command = [*program, "apply", *map(str, arguments)]
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return time.perf_counter() - began


def main() -> None:
    """Print the median of each, with the lowest and the highest."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_set(folder / "small", 2_000, 5_000, "json")
        for kind in ("json", "toml"):
            write_set(folder / kind, 10_000, 30_000, kind)  # with the members, 50,000 rows
        times: dict[str, list[float]] = {}
        for round_ in range(ROUNDS):
            settings = folder / f"{round_}.toml"
            settings.write_text(f'data_dir = "{folder / str(round_)}"\n')
            command = [sys.executable, "-m", "stagedoor", "--config", str(settings)]
            subprocess.run([*command, "user", "add", "root", "--no-password"], check=True)
            for what, arguments in (
                ("apply 2,000 users and 5,000 grants", (folder / "small",)),
                ("apply them again", (folder / "small",)),
                ("diff of 50,000 new rows, JSON", (folder / "json", "--diff", "--adopt")),
                ("diff of 50,000 new rows, TOML", (folder / "toml", "--diff", "--adopt")),
            ):
                times.setdefault(what, []).append(measure(settings, *arguments))
            measure(settings, folder / "json")
            times.setdefault("diff of 50,000 equal rows, JSON", []).append(
                measure(settings, folder / "json", "--diff")
            )
        for what, seconds in times.items():
            spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
            print(f"{what}: {statistics.median(seconds):.2f} s ({spread})")


if __name__ == "__main__":
    main()
