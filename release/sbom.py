"""What is shipped, as CycloneDX 1.5 JSON: the locked packages of Python, and those in the WebShell's page."""

import json
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from release.source import Source
from release.steps import UV, run


def write_sbom(source: Source, target: Path, packages: Path) -> None:
    """Write the list of what is installed in the folder `packages`, and of the page.

    Hashes and dependencies are the lock's. Licences are those of docs/reference/licences.md; for what only an
    extra brings, those that the package states.
    """
    installed = {normal(one.name): one for one in distributions(path=[str(packages)])}
    document = json.loads(run(source, [
        UV, "export", "--quiet", "--frozen", "--no-default-groups", "--all-extras",
        "--format", "cyclonedx1.5", "--preview-features", "sbom-export",
    ]))  # fmt: skip
    of_page = licences(source)
    kept = [one for one in document["components"] if normal(one["name"]) in installed]
    for one in kept:
        name = normal(one["name"])
        one["licenses"] = [licence(of_page.get(name) or stated(installed[name]))]
        one.pop("properties", None)  # uv's markers: for which platforms it would be installed
    page = list(of_the_page(source))
    document["components"] = [*kept, *page]
    references = {one["bom-ref"] for one in document["components"]}
    root = document["metadata"]["component"]
    root |= {
        "type": "application",
        "version": source.version,
        "purl": f"pkg:pypi/stagedoor@{source.version}",
        "licenses": [licence("Apache-2.0")],
        "properties": [{"name": "stagedoor:commit", "value": source.commit}],
    }
    references.add(root["bom-ref"])
    document["dependencies"] = [
        one | {"dependsOn": [ref for ref in one.get("dependsOn", ()) if ref in references]}
        for one in document["dependencies"]
        if one["ref"] in references
    ]
    [of_root] = [one for one in document["dependencies"] if one["ref"] == root["bom-ref"]]
    of_root["dependsOn"] += [one["bom-ref"] for one in page]
    made = datetime.fromtimestamp(source.epoch, UTC)
    document["metadata"]["timestamp"] = f"{made:%Y-%m-%dT%H:%M:%SZ}"
    text = json.dumps(document["components"], sort_keys=True) + source.version + source.commit
    document["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_OID, text).urn
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")


def of_the_page(source: Source) -> Iterator[dict[str, Any]]:
    """The packages of npm that script/web bundles: all in its lock that are not for development."""
    lock = json.loads((source.folder / "web/package-lock.json").read_text("utf-8"))
    for path, package in sorted(lock["packages"].items()):
        if not path or package.get("dev"):
            continue
        name = path.rpartition("node_modules/")[2]
        yield {
            "type": "library",
            "bom-ref": f"npm:{name}@{package['version']}",
            "name": name,
            "version": package["version"],
            "purl": f"pkg:npm/{name.replace('@', '%40')}@{package['version']}",
            "licenses": [licence(package["license"])],
        }


def licences(source: Source) -> dict[str, str]:
    """By package, from the page that says under what Stagedoor comes."""
    page = (source.folder / "docs/reference/licences.md").read_text("utf-8")
    rows = re.findall(r"^\| ([a-z0-9-]+) \| ([^|]+) \| [^|]+ \|$", page, re.MULTILINE)
    return {name: text.replace(" or ", " OR ") for name, text in rows}


def stated(package: Distribution) -> str:
    """The licence by core metadata 2.4, or as older metadata has it."""
    metadata = package.metadata
    if "License-Expression" in metadata:
        return metadata["License-Expression"]
    classified = [
        text.rpartition(" :: ")[2]
        for text in metadata.get_all("Classifier") or ()
        if text.startswith("License :: ")
    ]
    plain = metadata["License"].partition("\n")[0] if "License" in metadata else ""
    return " and ".join(classified) or plain


def licence(text: str) -> dict[str, Any]:
    """As CycloneDX 1.5 has it: an SPDX expression, or a name where a package states no expression."""
    if text and " " not in text.replace(" OR ", "").replace(" AND ", "").replace(" WITH ", ""):
        return {"expression": text}
    return {"license": {"name": text or "not stated"}}


def normal(name: str) -> str:
    """As the index compares names (PEP 503)."""
    return name.lower().replace("_", "-").replace(".", "-")
