# Functions of the scripts that install tools while an image is built. Each download is checked against a published checksum.
# $root is empty, or the folder in which a test installs.
set -eu
root=${CODEX_DOCKER_TEST_ROOT:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

stop() { echo "codex-docker: $1" >&2; exit 1; }

fetch() { curl --fail --silent --show-error --location --retry 3 --connect-timeout 30 "$@"; }

# Sets the names of this machine's processor: Debian's, Node.js's and Rust's.
case "$(dpkg --print-architecture)" in
    amd64) machine=amd64 node_machine=x64 rust_machine=x86_64 ;;
    arm64) machine=arm64 node_machine=arm64 rust_machine=aarch64 ;;
    *) stop "there are no tools for $(dpkg --print-architecture)" ;;
esac

# Reads versions from stdin, and prints the newest one that is, or starts with, this version.
newest() { grep -E "^$(printf '%s' "$1" | sed 's/\./\\./g')(\.[0-9]+)*$" | sort -V | tail -n 1; }

# Fails unless the checksum of a file has this value: check sha256 FILE HEX.
check() {
    [ "$("${1}sum" "$2" | cut -d ' ' -f 1)" = "$3" ] || stop "the download of ${2##*/} is damaged"
}

# Downloads the newest version of an npm package, and extracts it: npm_package REGISTRY NAME VERSION FOLDER.
npm_package() {
    fetch --header 'Accept: application/vnd.npm.install-v1+json' --output "$work/about.json" "$1/$2" \
        || stop "$1 has no package $2, or does not answer"
    exact=$(jq --raw-output '.versions | keys[]' "$work/about.json" | newest "$3")
    [ -n "$exact" ] || stop "$1 has no version $3 of $2"
    dist() { jq --raw-output --arg version "$exact" ".versions[\$version].dist.$1" "$work/about.json"; }
    fetch --output "$work/package.tgz" "$(dist tarball)"
    arrived="sha512-$(openssl dgst -sha512 -binary "$work/package.tgz" | base64 --wrap=0)"
    [ "$arrived" = "$(dist integrity)" ] || stop "the download of $2 is damaged"
    mkdir -p "$4"
    tar --extract --gzip --file="$work/package.tgz" --directory="$4" --no-same-owner --strip-components=1
}

# Creates a link in /usr/local/bin: program NAME TARGET.
program() {
    mkdir -p "$root/usr/local/bin"
    ln -sf "$2" "$root/usr/local/bin/$1"
}

# Adds the first line that a program says about its version to the list of installed tools: installed PROGRAM ARGUMENT.
installed() {
    said=$("$@" 2>&1) || stop "$1 does not start: $said"
    mkdir -p "$root/etc/codex-docker"
    printf '%s\n' "$said" | sed -n '1p' | sed "s,^[0-9v],${1##*/} &," | tee -a "$root/etc/codex-docker/installed"
}

apt_install() {
    apt-get update
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$@"
    apt-get clean
    rm -rf /var/lib/apt/lists/*
}
