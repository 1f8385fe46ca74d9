#!/usr/bin/env bash
# Installs the servers that tests run against, as far as they are missing: MariaDB, Redis, Docker and a JDK
# from Debian's packages (as root), a small Debian as the base of test images (as root), a MongoDB-protocol server and Temporal's time-skipping test server from
# Maven Central into .cache/services. Quick, and silent but for one line, when all is there. Temporal's own
# server is `make install`'s.
set -euo pipefail
cd "$(dirname "$0")/../.."
PATH="$PATH:/usr/local/sbin:/usr/sbin"

say() { echo "tests/services: $*"; }

packages=()
need() { command -v "$1" >/dev/null 2>&1 || packages+=("$2"); }
need mariadbd mariadb-server
need redis-server redis-server
need javac default-jdk-headless
need mvn maven
need npm npm
need dockerd docker.io
need debootstrap debootstrap
need iptables iptables
need ip iproute2

if ((${#packages[@]})); then
  if ! command -v apt-get >/dev/null 2>&1; then
    say "missing: ${packages[*]} (Debian's names); install them, or the tests that need them are skipped"
    exit 0
  elif ((EUID != 0)); then
    say "missing: run 'sudo apt-get install ${packages[*]}', or the tests that need them are skipped"
    exit 0
  fi
  say "installing with apt-get: ${packages[*]}"
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  if ! { apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${packages[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log"
    say "apt-get failed; its last lines are above"
    exit 1
  fi
fi

# jars SOURCE TARGET: gets what SOURCE/pom.xml lists into TARGET/lib.
jars() {
  rm -rf "$2"
  mkdir -p "$2"
  mvn -q -B -f "$1/pom.xml" dependency:copy-dependencies -DoutputDirectory="$PWD/$2/lib" -DincludeScope=runtime
}

source=tests/services/mongo
target=.cache/services/mongo
if [[ ! -e $target/done || $source/Main.java -nt $target/done || $source/pom.xml -nt $target/done ]]; then
  say "getting mongo-java-server from Maven Central into $target"
  jars "$source" "$target"
  javac -d "$target/classes" -cp "$target/lib/*" "$source/Main.java"
  touch "$target/done"
fi

source=tests/services/time_skipping
target=.cache/services/time-skipping
if [[ ! -e $target/temporal-test-server || $source/pom.xml -nt $target/temporal-test-server ]]; then
  say "getting Temporal's time-skipping test server from Maven Central into $target"
  jars "$source" "$target"
  install -m 755 "$source/temporal-test-server" "$target/temporal-test-server"
fi

source=tests/services/npm
target=.cache/services/npm
if [[ ! -e $target/done || $source/package-lock.json -nt $target/done ]]; then
  say "getting MCP servers from npm into $target"
  rm -rf "$target"
  mkdir -p "$target"
  cp "$source/package.json" "$source/package-lock.json" "$source/.npmrc" "$target"
  npm ci --prefix "$target" --ignore-scripts --silent
  touch "$target/done"
fi
# The base of the images in tests: no registry of images is needed then.
target=.cache/services/docker
if [[ ! -e $target/base.tar ]]; then
  if ((EUID != 0)) || ! command -v debootstrap >/dev/null 2>&1; then
    say "a base image needs root and debootstrap; without it the tests that need containers are skipped"
  else
    say "making a small Debian as the base of test images in $target"
    mkdir -p "$target"
    folder=$(mktemp -d)
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$folder" \
      >"$target/log" 2>&1 || { tail -n 20 "$target/log"; exit 1; }
    tar --directory "$folder" --numeric-owner --exclude=./usr/share/{doc,man,locale,i18n} --exclude=./var/cache/apt \
      --exclude=./var/lib/apt/lists --create --file "$target/base.tar.new" .
    mv "$target/base.tar.new" "$target/base.tar"
    rm -rf "$folder"
  fi
fi
say "all servers are installed"
