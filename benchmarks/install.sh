#!/usr/bin/env bash
# Installs what the benchmark of the gateway runs, as far as it is missing: nginx and wrk from Debian's packages
# (as root), and the upstream, which is built with Go (1.25 or newer) from benchmarks/gateway/upstream_go: its
# modules come from the Go module proxy. Quick, and silent, when all is there.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/local/sbin:/usr/sbin:/usr/local/go/bin"

say() { echo "benchmarks: $*" >&2; }

packages=()
need() { command -v "$1" >/dev/null 2>&1 || packages+=("$2"); }
need nginx nginx-light
need wrk wrk

if ((${#packages[@]})); then
  if ! command -v apt-get >/dev/null 2>&1 || ((EUID != 0)); then
    say "missing: install ${packages[*]} (Debian's names), as by 'sudo apt-get install ${packages[*]}'"
    exit 1
  fi
  say "installing with apt-get: ${packages[*]}"
  # RUNLEVEL=1: nginx is to be installed, and not started as a service.
  apt-get update -qq
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi

source=benchmarks/gateway/upstream_go
target=$PWD/.cache/benchmarks/upstream
if [[ ! -x $target || $source/main.go -nt $target || $source/go.sum -nt $target ]]; then
  if ! command -v go >/dev/null 2>&1; then
    say "missing: Go 1.25 or newer, to build the upstream in $source"
    exit 1
  fi
  say "building the upstream from $source into $target"
  mkdir -p "$(dirname "$target")"
  (cd "$source" && go build -o "$target" .)
fi
