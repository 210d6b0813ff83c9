# Sourced by build: Debian's packages as the lock names them, checked against its hashes.
#
# The lock's lines: ARCH PACKAGE VERSION SHA256, and one first line `# made YYYY-MM-DDTHH:MM:SSZ`.

suite=trixie
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# archive_of debian|debian-security: this machine's own archive of that name, as apt has it.
archive_of() {
  apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    awk -v name="$1" '$1 == "Debian" { uri = $2; sub("/+$", "", uri); n = split(uri, part, "/"); if (part[n] == name) { print uri; exit } }'
}

# use_archive ARCH: an apt of our own beside the machine's, for the architecture and the suite.
use_archive() {
  local main="${KIT_MIRROR:-}" security="${KIT_SECURITY_MIRROR:-}" folder="$work/apt-$1"
  [ -n "$main" ] || main="$(archive_of debian)"
  [ -n "$main" ] || die "this machine's apt knows no archive of Debian; set KIT_MIRROR to the address of one (and KIT_SECURITY_MIRROR)"
  if [ -z "$security" ] && [ -z "${KIT_MIRROR:-}" ]; then security="$(archive_of debian-security)"; fi
  [ -r "$keyring" ] || die "$keyring is missing; as root: apt-get install debian-archive-keyring"
  mkdir -p "$folder/lists/partial" "$folder/archives/partial" "$folder/none"
  : >"$folder/status"
  {
    echo "deb [signed-by=$keyring] $main $suite main"
    [ -n "${KIT_MIRROR:-}" ] || echo "deb [signed-by=$keyring] $main $suite-updates main"
    [ -z "$security" ] || echo "deb [signed-by=$keyring] $security $suite-security main"
  } >"$folder/sources.list"
  cat >"$folder/apt.conf" <<-END
	Dir::State "$folder";
	Dir::State::status "$folder/status";
	Dir::Cache "$folder";
	Dir::Etc::sourcelist "$folder/sources.list";
	Dir::Etc::sourceparts "$folder/none";
	Dir::Etc::preferencesparts "$folder/none";
	APT::Architecture "$1";
	APT::Architectures { "$1"; };
	APT::Sandbox::User "";
	Acquire::Languages "none";
	Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
	Acquire::Check-Valid-Until "$([ -n "${KIT_MIRROR:-}" ] && echo false || echo true)";
	END
  export APT_CONFIG="$folder/apt.conf"
  say "reading the archive's lists for $1 ($main)"
  apt-get update -qq >&2 || die "apt-get update failed for $main; set KIT_MIRROR to an archive that this machine reaches"
}

wanted() { sed 's/#.*//' "$here/packages" | awk 'NF { print $1 }'; }
role_of() { awk -v name="$1" '$1 == name { print $2 }' "$here/packages"; }

# write_lock: what the archive has today, for this architecture and those that are in the lock already.
write_lock() {
  local architectures one fresh="$work/lock" uris
  architectures="$( (awk '!/^#/ { print $1 }' "$lock" 2>/dev/null; echo "$arch") | sort -u)"
  printf '# made %s by build --update-lock; ARCH PACKAGE VERSION SHA256\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" >"$fresh"
  for one in $architectures; do
    use_archive "$one"
    # shellcheck disable=SC2046  # the list is meant to be split
    uris="$(apt-get --print-uris download $(wanted))" || die "the archive lacks one of the packages"
    # 'URI' FILE SIZE SHA256:HASH, where FILE is NAME_VERSION_ARCH.deb and a colon in VERSION is written %3a
    printf '%s\n' "$uris" | awk -v arch="$one" '{
      split($2, part, "_"); gsub("%3a", ":", part[2]); sub("SHA256:", "", $4); print arch, part[1], part[2], $4 }' | sort >>"$fresh"
  done
  cp "$fresh" "$lock"
  say "$lock: $(grep -vc '^#' "$lock") packages for" $architectures
}

# fetch_packages FOLDER: FOLDER/PACKAGE/ with the package's files and control files, FOLDER/PACKAGE.sha256
# with its .deb's hash. Packages are kept in the cache under their hashes, so a second build asks nobody.
fetch_packages() {
  local folder="$1" name version hash file missing=""
  grep -q "^$arch " "$lock" || die "the lock has nothing for $arch; run deploy/kit/build --update-lock --arch $arch"
  mkdir -p "$folder"
  while read -r _ name version hash; do
    [ -f "$cache/debs/$hash.deb" ] || missing="$missing $name=$version"
    printf '%s\n' "$hash" >"$folder/$name.sha256"
  done < <(grep "^$arch " "$lock")
  for name in $(wanted); do
    [ -f "$folder/$name.sha256" ] || die "$name is in deploy/kit/packages and not in the lock; run deploy/kit/build --update-lock"
  done
  [ -z "$missing" ] || download "$folder" "$missing"
  for file in "$folder"/*.sha256; do
    name="$(basename "$file" .sha256)"
    mkdir "$folder/$name"
    dpkg-deb --raw-extract "$cache/debs/$(cat "$file").deb" "$folder/$name"
  done
}

# download FOLDER 'NAME=VERSION …': into the cache, each checked twice: by apt against the archive's signature and
# here against the lock.
download() {
  local folder="$1" entry name got there moved="" ask="" debs="$work/debs"
  use_archive "$arch"
  # shellcheck disable=SC2046  # the list is meant to be split
  there="$(apt-cache madison $(sed 's/=[^ ]*//g' <<<"$2") | awk -F '|' '{ gsub(" ", ""); print $1 "=" $2 }')"
  for entry in $2; do
    name="${entry%%=*}"
    if grep -qxF "$entry" <<<"$there"; then
      ask="$ask $entry"
    else
      moved="$moved $name (locked ${entry#*=}, now $(sed -n "s/^${name//+/\\+}=//p" <<<"$there" | head -n 1))"
      ask="$ask $name"
    fi
  done
  if [ -n "$moved" ]; then
    say "the archive has moved on:$moved"
    [ -n "$newer" ] || die "run deploy/kit/build --update-lock and look at what changed, or --newer to take it as it is, or set KIT_MIRROR to a snapshot of the day in the lock's first line"
  fi
  say "downloading $(wc -w <<<"$ask") packages"
  mkdir -p "$debs"
  # shellcheck disable=SC2086
  (cd "$debs" && apt-get -qq download $ask >&2) || die "could not download$ask"
  for entry in $ask; do
    name="${entry%%=*}"
    got="$(sha256sum "$debs/$name"_*.deb | cut -d' ' -f1)"
    if [ "$entry" = "$name" ]; then
      printf '%s\n' "$got" >"$folder/$name.sha256"
    elif [ "$got" != "$(cat "$folder/$name.sha256")" ]; then
      die "$entry has the hash $got and the lock says otherwise: it is not what was locked"
    fi
    # Whole or not at all, since another build may look for it: the cache may be on another disk.
    mv "$debs/$name"_*.deb "$cache/debs/.$got.$$"
    mv "$cache/debs/.$got.$$" "$cache/debs/$got.deb"
  done
}
