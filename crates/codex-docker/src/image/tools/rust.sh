#!/bin/sh
# Installs Rust with Cargo, Clippy and rustfmt: rust.sh VERSION SOURCE. SOURCE is a mirror of static.rust-lang.org.
# rustup checks the signatures and checksums of what it downloads.
. "${0%/*}/common.sh"
version=$1 source=$2
export RUSTUP_HOME="$root/usr/local/rustup" CARGO_HOME="$root/usr/local/lib/rustup-init"
export RUSTUP_DIST_SERVER="$source" RUSTUP_UPDATE_ROOT="$source/rustup"

address=$source/rustup/dist/$rust_machine-unknown-linux-gnu/rustup-init
fetch --output "$work/rustup-init" "$address" || stop "$source has no rustup, or does not answer"
check sha256 "$work/rustup-init" "$(fetch "$address.sha256" | cut -d ' ' -f 1)"
chmod +x "$work/rustup-init"
"$work/rustup-init" -y --quiet --no-modify-path --profile minimal --component clippy --component rustfmt --default-toolchain "$version" \
    || stop "Rust $version could not be installed"
# Cargo's own folder stays in the home directory, so that it belongs to the user.
mv "$CARGO_HOME"/bin/* "$root/usr/local/bin/"
rm -rf "$CARGO_HOME"
export CARGO_HOME="$work/cargo"
for tool in rustc cargo cargo-clippy rustfmt; do installed "$root/usr/local/bin/$tool" --version; done
