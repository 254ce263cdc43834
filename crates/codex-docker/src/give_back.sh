#!/bin/sh
# Gives the files below /given to a user: those of root, or those of anyone else. Called as: script UID:GID root|anyone
# Removes the setuid and setgid bits of all files, too. Needs no more than what BusyBox has, except for what is deeper than a path
# can say: find then has to know -execdir, which works from within each folder, and chown --from.
owner=$1
# With -execdir, find accepts no PATH that depends on the folder.
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
