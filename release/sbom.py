"""The bill of materials as CycloneDX 1.5 JSON: locked Python packages, and those in the WebShell's page."""

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
    """Write the bill of materials of the packages installed in `packages`, and of the page.

    Hashes and dependencies are the lock's. Licences are those of docs/reference/licences.md; a package that
    only an extra needs has the licence that it states. Raises ReleaseError.
    """
    installed = {normal(package.name): package for package in distributions(path=[str(packages)])}
    document = json.loads(run(source, [
        UV, "export", "--quiet", "--frozen", "--no-default-groups", "--all-extras",
        "--format", "cyclonedx1.5", "--preview-features", "sbom-export",
    ]))  # fmt: skip
    documented = licences(source)
    shipped = [part for part in document["components"] if normal(part["name"]) in installed]
    for component in shipped:
        name = normal(component["name"])
        component["licenses"] = [licence(documented.get(name) or stated_licence(installed[name]))]
        component.pop("properties", None)  # uv's platform markers
    page = list(page_packages(source))
    document["components"] = [*shipped, *page]
    references = {component["bom-ref"] for component in document["components"]}
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
        node | {"dependsOn": [ref for ref in node.get("dependsOn", ()) if ref in references]}
        for node in document["dependencies"]
        if node["ref"] in references
    ]
    [of_root] = [node for node in document["dependencies"] if node["ref"] == root["bom-ref"]]
    of_root["dependsOn"] += [package["bom-ref"] for package in page]
    time = datetime.fromtimestamp(source.epoch, UTC)
    document["metadata"]["timestamp"] = f"{time:%Y-%m-%dT%H:%M:%SZ}"
    text = json.dumps(document["components"], sort_keys=True) + source.version + source.commit
    document["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_OID, text).urn
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")


def page_packages(source: Source) -> Iterator[dict[str, Any]]:
    """Yield the npm packages that script/web bundles: all in its lock, except those for development."""
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
    """Return the licences by package from the documentation's page of licences."""
    page = (source.folder / "docs/reference/licences.md").read_text("utf-8")
    rows = re.findall(r"^\| ([a-z0-9-]+) \| ([^|]+) \| [^|]+ \|$", page, re.MULTILINE)
    return {name: text.replace(" or ", " OR ") for name, text in rows}


def stated_licence(package: Distribution) -> str:
    """Return the licence in a package's metadata, by core metadata 2.4 or in the older forms."""
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
    """Return a licence of CycloneDX 1.5: an SPDX expression, or a name for any other text."""
    if text and " " not in text.replace(" OR ", "").replace(" AND ", "").replace(" WITH ", ""):
        return {"expression": text}
    return {"license": {"name": text or "not stated"}}


def normal(name: str) -> str:
    """Return a package's name normalized, as indexes compare names (PEP 503)."""
    return name.lower().replace("_", "-").replace(".", "-")
