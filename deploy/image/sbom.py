"""Write what this image holds as SPDX 2.3 JSON, and say it in short: Debian packages, Python packages.

Run inside the image, by its own Python: sbom.py FILE. SOURCE_DATE_EPOCH is the time in it, if it is set.
"""

import json
import os
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import Distribution, distributions
from pathlib import Path

NAMESPACE = "https://stagedoor.dev/sbom"
_LICENCE = re.compile(r"^License:\s*(\S.*)$", re.MULTILINE)
_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9.-]+")


def debian_packages() -> list[dict[str, object]]:
    """From dpkg's records and each package's copyright file (Debian policy §12.5)."""
    shown = subprocess.run(
        ["/usr/bin/dpkg-query", "-W", "-f", "${Package}\t${Version}\t${Architecture}\n"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found = []
    for line in shown.splitlines():
        name, version, architecture = line.split("\t")
        file = Path("/usr/share/doc") / name / "copyright"
        text = file.read_text(errors="replace") if file.exists() else ""
        licences = sorted({one.strip() for one in _LICENCE.findall(text)})
        found.append(
            package(
                f"deb-{name}",
                name,
                version,
                f"pkg:deb/debian/{name}@{version}?arch={architecture}",
                " AND ".join(licences),
            )
        )
    return found


def python_packages() -> list[dict[str, object]]:
    """From the metadata of the distributions that this interpreter finds (core metadata 2.4)."""
    found = []
    for one in sorted(distributions(), key=lambda one: one.name.lower()):
        name = one.name.lower()
        purl = f"pkg:pypi/{name}@{one.version}"
        found.append(package(f"pypi-{name}", name, one.version, purl, licence_of(one)))
    return found


def licence_of(one: Distribution) -> str:
    stated = one.metadata.get("License-Expression")
    if stated:
        return stated
    classified = [
        text.rpartition(" :: ")[2]
        for text in one.metadata.get_all("Classifier") or ()
        if text.startswith("License :: ")
    ]
    return " AND ".join(classified) or (one.metadata.get("License") or "").partition("\n")[0]


def package(key: str, name: str, version: str, purl: str, licence: str) -> dict[str, object]:
    return {
        "SPDXID": f"SPDXRef-{_NOT_IN_AN_ID.sub('-', key)}",
        "name": name,
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        # What packages state is no SPDX expression as a rule, so it stands as a comment.
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "licenseComments": licence or "not stated",
        "copyrightText": "NOASSERTION",
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": purl,
            }
        ],
    }


def main() -> None:
    debian, python = debian_packages(), python_packages()
    packages = [*debian, *python]
    made = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH") or time.time()), UTC)
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": "stagedoor image",
        "documentNamespace": f"{NAMESPACE}/{len(packages)}-{int(made.timestamp())}",
        "creationInfo": {
            "created": made.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "creators": ["Tool: stagedoor deploy/image/sbom.py"],
        },
        "documentDescribes": [one["SPDXID"] for one in packages],
        "packages": packages,
    }
    output = Path(sys.argv[1])
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(document, indent=1) + "\n")
    for one in python:
        sys.stdout.write(f"{one['name']} {one['versionInfo']}: {one['licenseComments']}\n")
    sys.stdout.write(f"{len(debian)} Debian packages, {len(python)} Python packages\n")


main()
