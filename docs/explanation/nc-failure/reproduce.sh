#!/usr/bin/env bash
# Shows why "nc breaks ssh" through some HTTP proxies, with this machine's OpenSSH and nc.
#
# Needs ssh, sshd, OpenBSD nc (Debian: openssh-client, openssh-server, netcat-openbsd) and python3.
# Everything is made in a folder of its own and on 127.0.0.1, and is gone at the end.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source="$here/../../../src"
sshd="$(PATH="$PATH:/usr/sbin" command -v sshd)" || { echo "sshd is missing" >&2; exit 1; }
folder="$(mktemp -d)"
started=()
clean_up() {
  for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
  rm -rf "$folder"
}
trap clean_up EXIT

# A throw-away sshd.
sshd_port="$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')"
ssh-keygen -q -t ed25519 -N '' -f "$folder/host_key"
ssh-keygen -q -t ed25519 -N '' -f "$folder/key"
echo "app01.ssh $(cat "$folder/host_key.pub")" >"$folder/known_hosts"
cat >"$folder/sshd_config" <<CONFIG
ListenAddress 127.0.0.1:$sshd_port
HostKey $folder/host_key
AuthorizedKeysFile $folder/key.pub
StrictModes no
UsePAM no
PidFile none
CONFIG
[ "$(id -u)" != 0 ] || mkdir -p /run/sshd
"$sshd" -D -e -f "$folder/sshd_config" 2>"$folder/sshd.log" &
started+=($!)

start_proxy() { # [--careful]: sets $proxy_port
  coproc python3 "$here/naive_proxy.py" "$sshd_port" "$@" 2>>"$folder/proxy.log"
  started+=("$COPROC_PID")
  read -r proxy_port <&"${COPROC[0]}"
}

try() { # TITLE PROXY_COMMAND
  printf '\n--- %s\n' "$1"
  log_in "$2"
  cat "$folder/ssh.log" "$folder/proxy.log"
}

log_in() { # PROXY_COMMAND
  : >"$folder/proxy.log"
  ssh -F none -i "$folder/key" -o IdentitiesOnly=yes -o BatchMode=yes \
    -o UserKnownHostsFile="$folder/known_hosts" -o GlobalKnownHostsFile=none \
    -o ConnectTimeout=10 -o ProxyCommand="$1" app01.ssh 'echo "ssh: logged in"' \
    2>&1 </dev/null | tr -d '\r' >"$folder/ssh.log" || echo "ssh: exit code $?" >>"$folder/ssh.log"
}

ssh -V 2>&1
for _ in $(seq 600); do grep -q 'Server listening' "$folder/sshd.log" && break; sleep 0.1; done
start_proxy
for count in $(seq 50); do # loopback is quick: the two pieces may arrive as one, and all is well by luck
  log_in "nc -X connect -x 127.0.0.1:$proxy_port %h %p"
  grep -q 'logged in' "$folder/ssh.log" || break
done
printf '\n--- nc, through the naive proxy (try %s)\n' "$count"
cat "$folder/ssh.log" "$folder/proxy.log"
if [ -d "$source" ]; then
  PYTHONPATH="$source" python3 -B -c 'import sys; from stagedoor.laptop.tunnel.onefile import build_tunnel_file
sys.stdout.buffer.write(build_tunnel_file())' >"$folder/tun.py"
  try 'stagedoor tunnel, through the same naive proxy (it writes the request at once)' \
    "python3 $folder/tun.py --gateway 127.0.0.1:$proxy_port %h %p"
fi
start_proxy --careful 2>/dev/null
try 'nc, through the careful proxy (it reads up to the empty line)' "nc -X connect -x 127.0.0.1:$proxy_port %h %p"
