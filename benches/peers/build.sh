#!/usr/bin/env bash
# Gets the peers that the comparison runs against, in pinned versions: those of npm into node_modules beside this file,
# the others under target/peers. What cannot be had is named; the comparison skips it.
#
# Usage: benches/peers/build.sh
set -uo pipefail
cd "$(dirname "$0")"

peers="$(cd ../.. && pwd)/target/peers"
sockudo_version=5.2.0
nginx_version=1.22.1-9+deb12u11
nchan_version=1:1.3.6+dfsg-2
missing=()
mkdir -p "$peers"

# uWebSockets and ws; package-lock.json pins them.
npm ci --no-audit --no-fund || missing+=("uWebSockets and ws: npm ci failed")

# Nchan: Debian's packages, unpacked and not installed, so that no service is started.
unpack_nchan() {
  mkdir -p "$peers/debian" && cd "$peers/debian" || return
  apt-get download "nginx=$nginx_version" "libnginx-mod-nchan=$nchan_version" || return
  for package in ./*nginx*.deb; do
    dpkg-deb -x "$package" "$peers/nginx" || return
  done
}
if [ ! -x "$peers/nginx/usr/sbin/nginx" ]; then
  (unpack_nchan) || missing+=("Nchan: apt-get download failed; it needs Debian 12, and perhaps apt-get update")
fi
# The module insists on this folder whatever its configuration says.
mkdir -p /var/lib/nginx || missing+=("Nchan: /var/lib/nginx is not there and cannot be made; make it as root")

# protoc, which the build of sockudo calls; unpacked likewise where there is none.
unpack_protoc() {
  mkdir -p "$peers/debian" && cd "$peers/debian" || return
  apt-get download protobuf-compiler libprotoc32 libprotobuf32 libprotobuf-dev || return
  for package in ./*proto*.deb; do
    dpkg-deb -x "$package" "$peers/protoc" || return
  done
}
unpacked=()
if [ ! -x "$peers/bin/sockudo" ] && ! command -v protoc >/dev/null; then
  (unpack_protoc) || missing+=("sockudo: there is no protoc, and apt-get download of protobuf-compiler failed")
  unpacked=("PROTOC=$peers/protoc/usr/bin/protoc" "PROTOC_INCLUDE=$peers/protoc/usr/include"
    "LD_LIBRARY_PATH=$(dirname "$(find "$peers/protoc" -name 'libprotoc.so.32' -print -quit)")")
fi

# sockudo: without OpenTelemetry, which a measurement has no use for. Takes some 30 minutes of a core.
if [ ! -x "$peers/bin/sockudo" ]; then
  env "${unpacked[@]}" CARGO_TARGET_DIR="$peers/build" nice -n 10 cargo install sockudo --version "$sockudo_version" --locked \
    --no-default-features --features local,v2 --root "$peers" || missing+=("sockudo: cargo install failed")
  rm -rf "$peers/build"
fi

command -v centrifugo >/dev/null || missing+=("Centrifugo: there is no centrifugo on the PATH")

for line in "${missing[@]}"; do
  echo "missing: $line"
done
