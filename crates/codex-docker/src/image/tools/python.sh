#!/bin/sh
# Installs Python and Poetry: python.sh VERSION SOURCE PYPI_INDEX.
# Debian's Python is used if it is the version. Otherwise, uv downloads it from SOURCE, a mirror of python-build-standalone, or from its
# default source if SOURCE is empty. uv knows the checksums.
. "${0%/*}/common.sh"
version=$1 source=$2 index=$3

installed=$(python3 -c 'import platform; print(platform.python_version())')
if [ -z "$(echo "$installed" | newest "$version")" ]; then
    if [ -n "$source" ]; then export UV_PYTHON_INSTALL_MIRROR="$source"; fi
    export UV_PYTHON_INSTALL_DIR="$root/opt/python"
    uv python install --no-bin "$version" || stop "Python $version could not be installed"
    program=$(readlink -f "$(uv python find --managed-python --no-project "$version")")
    ln -sfn "${program%/bin/*}" "$root/opt/python/current"
fi
UV_TOOL_DIR=$root/opt/uv-tools UV_TOOL_BIN_DIR=$root/usr/local/bin \
    uv tool install --quiet --no-cache --default-index "$index" poetry
PATH=$root/opt/python/current/bin:$root/usr/local/bin:$PATH
installed python3 --version
installed poetry --version
