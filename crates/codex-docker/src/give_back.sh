#!/bin/sh
# Changes the owner of the files below /given: only of root's files, or of all files. Usage: script UID:GID root|anyone
# Also removes setuid and setgid bits. BusyBox is sufficient unless a path is too long for chown. Such paths need a find with
# -execdir and a chown with --from.
owner=$1
# find refuses -execdir if PATH contains a relative folder.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
ended=0

for folder in /given/*; do
    if [ "$2" = root ]; then
        find "$folder" -xdev -user 0 -exec chown -h "$owner" {} + 2> /dev/null \
            || find "$folder" -xdev -user 0 -execdir chown -R -h --from=0 "$owner" {} + -prune || ended=1
    else
        find "$folder" -xdev ! -user "${owner%:*}" -execdir chown -R -h "$owner" {} + -prune || ended=1
    fi
    find "$folder" -xdev -type f -perm /6000 -exec chmod ug-s {} + 2> /dev/null \
        || find "$folder" -xdev -type f -perm /6000 -execdir chmod ug-s {} + || ended=1
done
exit "$ended"
