# Sourced by the scripts that run Python: finds one and makes .venv from uv.lock.
# Needs: $root, the checkout. Sets: $base, the Python found; $python, the interpreter of .venv.

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
[ -t 2 ] || say() { printf '==> %s\n' "$*" >&2; }
die() { printf 'stagedoor: %s\n' "$*" >&2; exit 1; }

# apt_install PACKAGE…: install what is missing, where that is ours to do.
# Without root it names what is missing in $missing_packages and goes on.
missing_packages=""
apt_install() {
  local wanted="" package
  command -v dpkg-query >/dev/null || return 0
  for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || wanted="$wanted $package"
  done
  [ -n "$wanted" ] || return 0
  if [ "$(id -u)" != 0 ]; then
    missing_packages="$missing_packages$wanted"
    return 0
  fi
  say "installing$wanted"
  # A list of packages may be old or absent; it is fetched once, when it is needed.
  if [ -z "${apt_updated:-}" ]; then
    apt-get update -qq >&2 || say "apt-get update failed; trying with the package lists as they are"
    apt_updated=1
  fi
  # What the checks need is there for them alone: Debian starts a package's service unless it is told
  # not to (invoke-rc.d(8)).
  (
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
      trap 'rm -f "$policy"' EXIT
      printf '#!/bin/sh\nexit 101\n' >"$policy"
      chmod 755 "$policy"
    fi
    # shellcheck disable=SC2086  # the list is meant to be split
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $wanted >&2
  ) || die "apt-get could not install:$wanted"
}

# need_localhost: a minimal system may come without /etc/hosts, and ssh's forwards speak of localhost.
need_localhost() {
  getent hosts localhost >/dev/null && return 0
  [ "$(id -u)" = 0 ] || die "this machine does not know localhost; as root: echo '127.0.0.1 localhost' >>/etc/hosts"
  say "adding localhost to /etc/hosts"
  printf '127.0.0.1 localhost\n::1 localhost\n' >>/etc/hosts
}

# Programs are started many times here; each would compile the same modules again.
unset PYTHONDONTWRITEBYTECODE

# find_base: the Python that environments are made of is $PYTHON, else the system's, else the first on PATH. One that
# pyenv has built lacks, unless it was told otherwise, the optimizations of a distribution's.
find_base() {
  [ "$(id -u)" != 0 ] || apt_install python3 python3-venv
  has_base && return
  [ -z "${PYTHON:-}" ] || die "PYTHON=$PYTHON is no Python 3.11 or later that has the module venv"
  die "Python 3.11 or later with its module venv is needed; as root: apt-get install python3 python3-venv"
}
has_base() { # sets $base
  local each
  for each in ${PYTHON:-/usr/bin/python3 python3}; do
    "$each" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
    base="$each"
    return 0
  done
  return 1
}

# need PROGRAM PACKAGE: this program, and a Python for find_base. Root has them installed; others hear of all at once.
need() {
  local wanted=""
  [ -n "${PYTHON:-}" ] || has_base || wanted=" python3 python3-venv"
  command -v "$1" >/dev/null || wanted="$wanted $2"
  [ -n "$wanted" ] || return 0
  [ "$(id -u)" = 0 ] || die "packages are missing; as root: apt-get install$wanted"
  # shellcheck disable=SC2086  # the list is meant to be split
  apt_install $wanted
  command -v "$1" >/dev/null || die "$1 is missing"
}

# install_locked PLACE EXPORT_OPTION…: into the environment at PLACE what uv.lock has for these options of `uv export`.
install_locked() {
  local place="$1" uv="$root/.venv/bin/uv"
  shift
  (cd "$root" && "$uv" export -q --frozen "$@" --no-emit-project --format requirements-txt \
    --output-file "$place/requirements.txt") >/dev/null
  # uv takes a tenth of pip's time; pip knows an index and certificates that only pip.conf names.
  "$uv" pip install -q --python "$place/bin/python" --require-hashes -r "$place/requirements.txt" ||
    "$root/.venv/bin/python" -m pip --python "$place/bin/python" install -q --disable-pip-version-check \
      --require-hashes -r "$place/requirements.txt"
}

# make_environment GROUP…: .venv with the locked packages of the project and of these groups.
make_environment() {
  local groups="" group version stamp
  for group in "$@"; do groups="$groups --group $group"; done
  find_base
  python="$root/.venv/bin/python"
  version="$("$base" -c 'import sys; print(sys.executable, sys.version)')"
  stamp="$(printf '%s\n' "$version" "$groups" | cat - "$root/uv.lock" "$root/pyproject.toml" \
    "$root/script/bootstrap.txt" | sha256sum | cut -d' ' -f1)"
  [ "$(cat "$root/.venv/.stamp" 2>/dev/null)" = "$stamp" ] && [ -x "$python" ] && return 0

  say "making $root/.venv"
  [ -x "$python" ] && [ "$("$python" -c 'import sys; print(sys.version)' 2>/dev/null)" = "${version#* }" ] ||
    rm -rf "$root/.venv"
  [ -x "$python" ] || "$base" -m venv "$root/.venv"
  "$python" -m pip install -q --disable-pip-version-check --require-hashes -r "$root/script/bootstrap.txt"
  # shellcheck disable=SC2086  # the list is meant to be split
  install_locked "$root/.venv" --no-default-groups $groups
  # Without build isolation, which would fetch the newest backend, whatever it is.
  "$root/.venv/bin/uv" pip install -q --python "$python" --no-build-isolation --no-deps --editable "$root"
  printf '%s' "$stamp" >"$root/.venv/.stamp"
}

# make_environment_with GROUP…: the same, but for the tests' environment where that is there, which has all groups.
make_environment_with() {
  if [ -e "$root/.venv/.stamp" ] && "$root/.venv/bin/python" -c 'import pytest' 2>/dev/null; then
    set -- dev fuzz page
  fi
  make_environment "$@"
}
