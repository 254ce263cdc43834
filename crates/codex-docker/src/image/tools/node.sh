#!/bin/sh
# Installs Node.js with npm, Yarn and pnpm: node.sh VERSION SOURCE NPM_REGISTRY.
# SOURCE is a mirror of nodejs.org/dist, or npm+URL for an npm registry.
. "${0%/*}/common.sh"
version=$1 source=$2 registry=$3
prefix=$root/usr/local
mkdir -p "$prefix"

# Puts a package of npm into the folder of global packages: global NAME VERSION.
global() {
    rm -rf "$prefix/lib/node_modules/$1"
    npm_package "$registry" "$1" "$2" "$prefix/lib/node_modules/$1"
}

case "$source" in
    npm+*)
        npm_package "${source#npm+}" "node-linux-$node_machine" "$version" "$prefix"
        rm -f "$prefix/package.json"
        ;;
    *)
        fetch --output "$work/index.json" "$source/index.json" || stop "$source does not answer"
        exact=$(jq --raw-output '.[].version' "$work/index.json" | sed 's/^v//' | newest "$version")
        [ -n "$exact" ] || stop "$source has no Node.js $version"
        file=node-v$exact-linux-$node_machine.tar.xz
        fetch --output "$work/$file" "$source/v$exact/$file"
        fetch --output "$work/sums" "$source/v$exact/SHASUMS256.txt"
        check sha256 "$work/$file" "$(awk -v file="$file" '$2 == file { print $1 }' "$work/sums")"
        tar --extract --xz --file="$work/$file" --directory="$prefix" --no-same-owner --strip-components=1
        ;;
esac
rm -f "$prefix/CHANGELOG.md" "$prefix/LICENSE" "$prefix/README.md"

# The newest versions that still support this Node.js.
major=${exact%%.*}
npm=11 pnpm=10
if [ "$major" -lt 22 ]; then npm=10; fi
if [ "$major" -lt 18 ]; then npm=8 pnpm=7; fi
if [ ! -e "$prefix/lib/node_modules/npm" ]; then
    global npm "$npm"
    program npm ../lib/node_modules/npm/bin/npm-cli.js
    program npx ../lib/node_modules/npm/bin/npx-cli.js
fi
global yarn 1
program yarn ../lib/node_modules/yarn/bin/yarn.js
program yarnpkg ../lib/node_modules/yarn/bin/yarn.js
global pnpm "$pnpm"
program pnpm ../lib/node_modules/pnpm/bin/pnpm.cjs
program pnpx ../lib/node_modules/pnpm/bin/pnpx.cjs
chmod +x "$prefix/lib/node_modules/npm/bin/npm-cli.js" "$prefix/lib/node_modules/npm/bin/npx-cli.js" \
    "$prefix/lib/node_modules/yarn/bin/yarn.js" "$prefix/lib/node_modules/pnpm/bin/pnpm.cjs" \
    "$prefix/lib/node_modules/pnpm/bin/pnpx.cjs"
PATH=$prefix/bin:$PATH
for tool in node npm yarn pnpm; do installed "$tool" --version; done
