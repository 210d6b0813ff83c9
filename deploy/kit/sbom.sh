# Sourced by build: what is in the kit, as SPDX 2.3 JSON, from the packages' control files and copyright files.

# field PACKAGES PACKAGE NAME: a field of the package's control file.
field() { sed -n "s/^$3: //p" "$1/$2/DEBIAN/control" | head -n 1; }

json() { local text="${1//\\/\\\\}"; text="${text//\"/\\\"}"; text="${text//$'\t'/ }"; printf '"%s"' "$text"; }

# licences FILE: the short names in a machine-readable copyright file (DEP 5), each once.
licences() {
  sed -n 's/^License: *//p' "$1" | sed 's/[[:space:]]*$//' | sort -u | sed '/^$/d' | paste -sd ';' | sed 's/;/; /g'
}

# write_sbom PACKAGES KIT
write_sbom() {
  local packages="$1" kit="$2" name version source text id role relation made lockhash
  made="$(sed -n 's/^# made \([^ ]*\).*/\1/p' "$lock")"
  lockhash="$(cat "$packages"/*.sha256 | cat - "$here"/source/*.[ch] "$here"/source/holder/*.[ch] "$here"/*.sh | sha256sum | cut -c1-32)"
  local relations=""
  cat <<-END
	{
	  "spdxVersion": "SPDX-2.3",
	  "dataLicense": "CC0-1.0",
	  "SPDXID": "SPDXRef-DOCUMENT",
	  "name": "stagedoor-kit-$arch",
	  "documentNamespace": "urn:stagedoor:kit:$arch:$lockhash",
	  "creationInfo": {"created": "$made", "creators": ["Tool: stagedoor deploy/kit/build"]},
	  "comment": "The kit changes some of these files: interpreter and rpath of every program, and paths of configuration files in libc, the loader, libcrypto, libwrap, libtinfo, tmux and sshd-session (deploy/kit/tree.sh lists them). Sources of the packages are in Debian's archive under the names and versions given here.",
	  "packages": [
	    {"SPDXID": "SPDXRef-kit", "name": "stagedoor-kit", "downloadLocation": "NOASSERTION", "filesAnalyzed": false,
	     "licenseConcluded": "NOASSERTION", "licenseDeclared": "Apache-2.0", "copyrightText": "NOASSERTION",
	     "comment": "the kit's own program and library; licences of the rest are under /kit/share/doc"}
	END
  for name in $(wanted); do
    version="$(field "$packages" "$name" Version)"
    source="$(field "$packages" "$name" Source)"
    id="SPDXRef-$(tr -c 'A-Za-z0-9.\n' - <<<"$name")"
    role="$(role_of "$name")"
    relation=CONTAINS
    [ "$role" != build ] || relation=STATIC_LINK
    text="$(licences "$kit/share/doc/$name/copyright")"
    [ -n "$text" ] || text="see /kit/share/doc/$name/copyright"
    cat <<-END
	    ,{"SPDXID": "$id", "name": "$name", "versionInfo": $(json "$version"),
	     "supplier": $(json "Organization: Debian, $(field "$packages" "$name" Maintainer)"),
	     "sourceInfo": $(json "source package ${source:-$name}"),
	     "downloadLocation": "NOASSERTION", "filesAnalyzed": false, "copyrightText": "NOASSERTION",
	     "checksums": [{"algorithm": "SHA256", "checksumValue": "$(cat "$packages/$name.sha256")"}],
	     "licenseConcluded": "NOASSERTION", "licenseDeclared": "NOASSERTION", "licenseComments": $(json "$text"),
	     "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
	       "referenceLocator": $(json "pkg:deb/debian/${name//+/%2B}@$(purl_version "$version")?arch=$(field "$packages" "$name" Architecture)&distro=$suite")}]}
	END
    relations="$relations,
    {\"spdxElementId\": \"SPDXRef-kit\", \"relationshipType\": \"$relation\", \"relatedSpdxElement\": \"$id\"}"
  done
  cat <<-END
	  ],
	  "relationships": [
	    {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-kit"}$relations
	  ]
	}
	END
}

purl_version() { local text="${1//:/%3A}"; printf '%s' "${text//+/%2B}"; }
