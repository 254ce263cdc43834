#!/bin/sh
# Moves what a setup left to /staging/keep and /staging/cache, and reports the number of files and the size of each folder. Links
# are not followed. BusyBox is sufficient.
set -e
in=/codex-docker/in
staged=/codex-docker/out/staged
mkdir -p /staging/keep /staging/cache
: > "$staged"

# Enters a folder below the current one. Fails if a part of the path is a link or not a folder.
enter() {
    rest=$1
    while [ -n "$rest" ]; do
        part=${rest%%/*}
        case $rest in
            */*) rest=${rest#*/} ;;
            *) rest= ;;
        esac
        [ ! -L "./$part" ] && [ -d "./$part" ] || return 1
        cd -P "./$part"
    done
}

report() {
    files=$(find "/staging/$1/$2" ! -type d -print0 | tr -dc '\0' | wc -c)
    kibibytes=$(du -sk "/staging/$1/$2" | cut -f1)
    echo "$1 $2 $files $kibibytes" >> "$staged"
}

number=0
while IFS= read -r path; do
    if (cd /staging/checkout && enter "$path"); then
        mv "/staging/checkout/$path" "/staging/keep/$number"
        report keep "$number"
    fi
    number=$((number + 1))
done < "$in/keep"

for data in /staging/.layers/*/data; do
    number=${data%/data}
    number=${number##*/}
    if [ -d "$data" ] && [ -n "$(ls -A "$data" | head -n 1)" ]; then
        mv "$data" "/staging/cache/$number"
        report cache "$number"
    fi
done
rm -rf /staging/.layers
sync
