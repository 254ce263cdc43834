#!/bin/sh
# Runs in the container of a run or a setup, under its init: forwards ports to the broker and the proxy, then executes Codex, a shell or
# the setup script.
# It reads its input from $in, which the container cannot write to. The host never trusts the files in $out.
in=/codex-docker/in
out=/codex-docker/out
. "$in/variables"

# Codex runs commands in login shells, whose profile replaces PATH. profile.sh restores it from this file.
printf '%s\n' "$PATH" > /run/codex-docker-path

# Package managers do not use a cache that belongs to another user, so layers get the owner of the other files.
if [ -e "$in/layer-owners" ]; then
    while read -r owner layer; do
        find "$layer" -prune -user "$owner" -exec chown 0:0 {} + 2> /dev/null
    done < "$in/layer-owners"
fi

# Forwards a port on the container's loopback to a mounted socket, if the socket exists.
forward() {
    [ -S "$in/sockets/$1" ] || return 0
    if ! command -v socat > /dev/null; then
        echo "error: socat not found in the image, but the $1 needs it; build an image that contains it: codex-docker image build" >&2
        exit 125
    fi
    socat "TCP-LISTEN:$2,bind=127.0.0.1,reuseaddr,fork,backlog=128" "UNIX-CONNECT:$in/sockets/$1" > /dev/null 2>&1 < /dev/null &
    tries=0
    until grep -q "$(printf ': 0100007F:%04X ' "$2")" /proc/net/tcp; do
        tries=$((tries + 1))
        if [ "$tries" -gt 500 ]; then
            echo "error: could not open the connection to the $1" >&2
            exit 125
        fi
        sleep 0.01
    done
}

# The script of a setup runs in place of Codex.
if [ -e "$in/setup" ]; then
    exec 2>&1 < /dev/null
    forward proxy 8318
    shell=/bin/sh
    command -v bash > /dev/null && shell=bash
    exec "$shell" "$in/setup"
fi

[ -n "$CODEX_DOCKER_TERMINAL" ] || exec 2>> "$out/stderr"

program=codex
if [ -e "$in/shell" ]; then
    cd "./$(cat "$in/shell")" || exit 125
    if [ $# -gt 0 ]; then
        program=$1
        shift
    else
        # Codex runs commands in login shells, too.
        program=/bin/sh
        command -v bash > /dev/null && program=bash
        set -- -l
    fi
    if ! command -v "$program" > /dev/null; then
        echo "error: $program not found in the image; use an image that contains it" >&2
        exit 127
    fi
elif ! command -v codex > /dev/null; then
    echo "error: codex not found in the image; build an image that contains it: codex-docker image build" >&2
    exit 127
fi

if [ -e "$in/start-folder" ]; then
    cd "./$(cat "$in/start-folder")" || exit 125
fi

# The login of an account is stored in a mounted folder. Codex replaces auth.json and locks a file next to it, so both are links.
if [ -d /codex-auth ]; then
    for name in auth.json auth.lock; do
        ln -sf "/codex-auth/$name" "$CODEX_HOME/$name"
    done
fi

if [ -n "$CODEX_DOCKER_TERMINAL" ]; then
    # The size of the terminal, as "rows cols". The container engine applies later changes. Without stty, the first change sets it.
    stty rows "${CODEX_DOCKER_TERMINAL% *}" cols "${CODEX_DOCKER_TERMINAL#* }" 2> /dev/null
    unset CODEX_DOCKER_TERMINAL
    forward broker 8317
    forward proxy 8318
    exec "$program" "$@"
fi
forward broker 8317
forward proxy 8318
[ -e "$in/stdin" ] && exec < "$in/stdin"
# A pipe that is open for reading and writing never ends, also if other processes open and close it.
[ -p /codex-docker/stdin ] && exec <> /codex-docker/stdin
exec "$program" "$@" >> "$out/stdout"
