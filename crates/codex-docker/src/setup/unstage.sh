#!/bin/sh
# Copies the folders of an earlier result from /from to where the script of a setup expects them. Links are not followed. BusyBox is
# sufficient.
set -e
in=/codex-docker/in

# Enters a folder below the current one, and creates missing parts. Fails if a part of the path is a link or not a folder.
enter() {
    rest=$1
    while [ -n "$rest" ]; do
        part=${rest%%/*}
        case $rest in
            */*) rest=${rest#*/} ;;
            *) rest= ;;
        esac
        [ ! -L "./$part" ] || return 1
        [ -d "./$part" ] || mkdir "./$part" || return 1
        cd -P "./$part"
    done
}

# Shares the blocks where the file system can.
copy() {
    cp -a --reflink=auto "$1/." "$2/" 2> /dev/null || cp -a "$1/." "$2/"
}

number=0
while IFS= read -r path; do
    if [ -d "/from/keep/$number" ]; then
        if (cd /staging/checkout && enter "$path"); then
            copy "/from/keep/$number" "/staging/checkout/$path"
        else
            echo "\`$path\` is not a folder in the checkout, so the earlier result is not used for it"
        fi
    fi
    number=$((number + 1))
done < "$in/keep"

for data in /staging/.layers/*/data; do
    number=${data%/data}
    number=${number##*/}
    if [ -d "/from/cache/$number" ]; then
        copy "/from/cache/$number" "$data"
    fi
done
