#!/bin/sh
# Exports an agent's work: commits uncommitted changes, and writes the new commits to a bundle. The host does not trust the bundle.
#
# The script runs under an init in a container without a network, while nothing else uses the folders. It uses the objects and refs of
# the agent repository, but never its configuration, hooks, filters or exclude file: git works in a temporary repository. From the
# agent's index, the script reads only submodules and conflicts. It compares the files with a new index that it fills from a commit.
# Before git reads the worktree, the script moves aside files that would block git, and excludes files that are too large. If new
# files may not belong into the commit, the script lists them and stops. The host then decides, and calls the script again.
# Invariants: no commit in the history of $HARVEST_SINCE is lost. A second run has the same result. `result` is written last.
#
# HARVEST_MODE is `harvest` (the default), `content` to leave out files that the host would refuse, or `sync` to move the
# agent's branch to the host's commit before a run.
#
# Needs git 2.30, coreutils, findutils, and a grep and sed that support -z. Exit codes: 2 invalid call, 3 the host's objects are
# missing, 4 the agent repository cannot be used, 5 the worktree cannot be committed, 6 the bundle cannot be written, 7 the worktree
# has more changes than fit in one commit, 9 the host must decide about the files in `inventory` and list what to leave out.
set -u
LC_ALL=C
export LC_ALL
umask 022

worktree=${HARVEST_WORKTREE:-/workspace/worktree}
twin=${HARVEST_GIT_DIR:-/git/agent.git}
out=${HARVEST_OUT:-/codex-docker/out}
message=${HARVEST_MESSAGE:-/codex-docker/in/message}
submodules=${HARVEST_SUBMODULES:-/codex-docker/in/submodules}
leave_out=${HARVEST_LEAVE_OUT:-/codex-docker/in/leave-out}
# Regular expressions for the paths that the worktree contains, and Git's patterns for them. Empty if it contains all paths.
cone=${HARVEST_CONE:-/codex-docker/in/cone}
patterns=${HARVEST_PATTERNS:-/codex-docker/in/patterns}
owner=${HARVEST_OWNER:-}
sessions=${HARVEST_SESSIONS:-}
mode=${HARVEST_MODE:-harvest}
borrowed=${HARVEST_OBJECTS:-$(printf '%s:' /git/objects*)}
remarks_limit=1000
new_too=1
# find refuses -execdir if PATH contains a relative folder.
system_path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# The host applies the same rules: see untrusted.rs in the crate `model`.
opened='.gitignore .gitattributes .gitmodules .lfsconfig .mailmap'
opened_inside='HEAD commondir config packed-refs'
opened_limit=${HARVEST_OPENED_LIMIT:-4194304}
file_limit=${HARVEST_FILE_LIMIT:-536870912}
commit_limit=${HARVEST_COMMIT_LIMIT:-1006632960}
lfs_file_limit=${HARVEST_LFS_FILE_LIMIT:-4294967296}
lfs_limit=${HARVEST_LFS_LIMIT:-17179869184}
new_files_limit=${HARVEST_NEW_FILES_LIMIT:-500000}
listed_limit=2000000
# The limits up to which new files are committed without asking the host. `always` asks in any case.
ask=${HARVEST_ASK:-beyond-limits}
run_files=${HARVEST_RUN_FILES:-$new_files_limit}
run_bytes=${HARVEST_RUN_BYTES:-$commit_limit}
run_file_bytes=${HARVEST_RUN_FILE_BYTES:-$file_limit}
# Files that may prove that their folder was generated. The host decides: see commit/generated.rs in the crate `model`.
markers='CACHEDIR.TAG pyvenv.cfg .modules.yaml .package-lock.json .yarn-integrity .yarn-state.yml'
stored_file='(^|/)files/[0-9a-f]{2}/[0-9a-f]{126}(-exec|-index\.json)?$'
compiled_file='(^|/)__pycache__/[^/]+\.pyc$'
marker_path="(^|/)($(echo "$markers" | sed 's/[.]/[.]/g' | tr ' ' '|'))\$"
marker_start=16384
left_out_limit=1000
index_limit=268435456
named_limit=20
tab=$(printf '\t')

say() { echo "harvest: $*" >&2; }
fail() { code=$1; shift; say "$*"; exit "$code"; }

[ -n "${HARVEST_BRANCH:-}" ] && [ -n "${HARVEST_SINCE:-}" ] || fail 2 'HARVEST_BRANCH and HARVEST_SINCE must be set'
case $mode in harvest | content | sync) ;; *) fail 2 "invalid HARVEST_MODE: \`$mode\`" ;; esac
branch=refs/heads/$HARVEST_BRANCH
since=$HARVEST_SINCE
# The host replaced this commit with a signed copy, which $since contains.
replaced=${HARVEST_REPLACED:-}
zero=$(printf %s "$since" | tr -c 0 0)
tmp=$(mktemp -d "${TMPDIR:-/tmp}/harvest.XXXXXX") || fail 2 'could not create a temporary folder'
: > "$tmp/remarks"
# Files that were moved aside before the host decided are not moved again.
! { [ -e "$leave_out" ] && [ -f "$out/remarks" ] && ! [ -L "$out/remarks" ]; } || cp -- "$out/remarks" "$tmp/remarks"
[ -e "$submodules" ] || submodules=/dev/null
[ -e "$cone" ] || cone=/dev/null
[ -e "$patterns" ] || patterns=/dev/null

remark() { printf '%s\0' "$*" >> "$tmp/remarks"; }
# Adds a remark of the given kind for each NUL-terminated value on stdin.
remarks() { head -z -n "$remarks_limit" | sed -z "s/^/$1 /" >> "$tmp/remarks"; }

# Files in the way are renamed, never deleted: they may contain the agent's work.
put_aside() {
    n=1
    while [ -e "$1.aside-$n" ] || [ -L "$1.aside-$n" ]; do n=$((n + 1)); done
    mv -f -- "$1" "$1.aside-$n" && remark "note the agent repository had an unusable \`${1##*/}\`, which was moved aside"
}
present() { [ -e "$1" ] || [ -L "$1" ]; }
count() { tr -dc '\0' < "$1" | wc -c; }
# Prints a size in a readable form, such as `3.0 TiB`.
shown_size() {
    [ "$1" -ge 1024 ] || { echo "$1 bytes"; return; }
    shown=$1 unit=bytes
    for next in KiB MiB GiB TiB PiB EiB; do
        [ "$shown" -ge 1024 ] || break
        tenths=$((shown % 1024 * 10 / 1024)) shown=$((shown / 1024)) unit=$next
    done
    echo "$shown.$tenths $unit"
}
plain_file() { [ -f "$1" ] && ! [ -L "$1" ]; }
plain_folder() { [ -d "$1" ] && ! [ -L "$1" ]; }
ensure_folder() {
    plain_folder "$1" && return
    ! present "$1" || put_aside "$1" || return
    mkdir -p -- "$1"
}
# Replaces a file atomically with stdin.
replace_file() {
    ! present "$1" || plain_file "$1" || put_aside "$1" || return
    rm -rf -- "$1.new" && cat > "$1.new" && mv -f -- "$1.new" "$1"
}

# Makes $owner the owner of every file, and removes setuid and setgid bits. Follows no links.
repair() {
    for folder in "$worktree" "$twin" "$sessions"; do
        [ -n "$folder" ] && plain_folder "$folder" && cd -- "$folder" || continue
        if [ -n "$owner" ]; then
            # -execdir runs chown in each folder, because the kernel refuses paths longer than 4 KiB. If a folder has another owner,
            # chown -R also changes everything in it.
            chown -h -- "$owner" . && PATH=$system_path find . -mindepth 1 -xdev -path ./.git ! -type d \
                -o \( ! -user "${owner%:*}" -o ! -group "${owner#*:}" \) -execdir chown -R -h -- "$owner" {} + -prune 2> /dev/null \
                || remark 'note the owner of some files could not be changed back'
        fi
        set -- . -xdev ! -type l ! -path ./.git -perm /6000
        find "$@" -exec chmod ug-s -- {} + 2> /dev/null || PATH=$system_path find "$@" -execdir chmod ug-s -- {} + \
            || remark 'note the setuid or setgid bits of some files could not be removed'
    done
    cd /
}
leave() {
    code=$?
    trap - EXIT
    [ "$code" -eq 0 ] || repair
    [ -z "$owner" ] || find "$out" -xdev ! -type l -exec chown -h -- "$owner" {} +
    rm -rf -- "$tmp"
    exit "$code"
}
trap leave EXIT
trap 'exit 143' TERM INT HUP

# Removes lock files and temporary files that killed programs left behind. The name of a ref cannot end with `.lock`.
clear_stale() {
    cd -- "$twin" || return
    find . -xdev -path ./objects -prune -o -path ./lfs -prune -o -name '*.lock' ! -type d -exec rm -f -- {} +
    find ./objects/info ./objects/pack -xdev \( -name '*.lock' -o -name 'tmp_*' \) ! -type d -exec rm -f -- {} + 2> /dev/null
    cd /
}

# Git would wait forever for a FIFO among the objects or refs. Special files have no content, so nothing is lost.
clear_special() {
    find "$twin" -xdev \( -type p -o -type s -o -type b -o -type c \) -print0 -delete > "$tmp/special"
    [ ! -s "$tmp/special" ] || remark "note removed FIFOs, sockets or devices from the agent repository: $(count "$tmp/special")"
}
# Removes symbolic links below objects and refs, because they could point to special files.
clear_links() {
    find "$twin/objects" "$twin/refs" -xdev -type l -print0 -delete > "$tmp/special"
    [ ! -s "$tmp/special" ] || remark "note removed symbolic links from the agent repository: $(count "$tmp/special")"
}

# Creates a temporary repository that shares objects and refs with the agent repository.
open_twin() {
    plain_folder "$twin" || return
    clear_special
    for folder in objects objects/info objects/pack refs refs/heads; do ensure_folder "$twin/$folder" || return; done
    clear_links
    printf '%s\n' "${borrowed%:}" | tr : '\n' > "$tmp/alternates"
    cmp -s "$tmp/alternates" "$twin/objects/info/alternates" || replace_file "$twin/objects/info/alternates" < "$tmp/alternates" || return
    ! present "$twin/packed-refs" || plain_file "$twin/packed-refs" || put_aside "$twin/packed-refs" || return

    mkdir "$tmp/git" "$tmp/git/info" "$tmp/home" && ln -s "$twin/refs" "$tmp/git/refs" || return
    ! plain_file "$twin/packed-refs" || ln -s "$twin/packed-refs" "$tmp/git/packed-refs" || return
    ! plain_file "$twin/shallow" || cp -- "$twin/shallow" "$tmp/git/shallow"
    printf 'ref: %s\n' "$branch" > "$tmp/git/HEAD"
    if plain_file "$twin/HEAD"; then head -c 1024 -- "$twin/HEAD" > "$tmp/git/HEAD"; fi
    write_config > "$tmp/git/config"
    # The system configuration comes from the image and may set up git-lfs.
    unset GIT_CONFIG GIT_CONFIG_COUNT GIT_CONFIG_PARAMETERS GIT_COMMON_DIR GIT_NAMESPACE GIT_CEILING_DIRECTORIES
    export HOME="$tmp/home" XDG_CONFIG_HOME="$tmp/home" GIT_DIR="$tmp/git" GIT_WORK_TREE="$worktree" GIT_INDEX_FILE="$tmp/index"
    export GIT_OBJECT_DIRECTORY="$twin/objects" GIT_NO_REPLACE_OBJECTS=1 GIT_NO_LAZY_FETCH=1 GIT_TERMINAL_PROMPT=0
    export GIT_OPTIONAL_LOCKS=0 GIT_ALLOW_PROTOCOL=none
    if ! git rev-parse --git-dir > /dev/null 2>&1; then
        printf 'ref: %s\n' "$branch" > "$tmp/git/HEAD"
        git rev-parse --git-dir > /dev/null || return
    fi
    if plain_file "$twin/packed-refs" && ! git for-each-ref --format='%(refname)' > /dev/null 2>&1; then
        rm -f -- "$tmp/git/packed-refs"
        put_aside "$twin/packed-refs"
    fi
}
write_config() {
    if [ "${#since}" -eq 64 ]; then version=1; else version=0; fi
    printf '[core]\n\trepositoryformatversion = %s\n\tbare = false\n\tfsmonitor = false\n\thooksPath = /dev/null\n' "$version"
    printf '\tsafecrlf = false\n\tsplitIndex = false\n\tuntrackedCache = false\n\tlogallrefupdates = false\n'
    [ "$version" -eq 0 ] || printf '[extensions]\n\tobjectformat = sha256\n'
    printf '[gc]\n\tauto = 0\n[submodule]\n\trecurse = false\n[diff]\n\tignoreSubmodules = all\n[advice]\n\taddEmbeddedRepo = false\n'
    printf '[i18n]\n\tcommitEncoding = UTF-8\n[lfs]\n\tstorage = "%s/lfs"\n' "$twin"
    if command -v git-lfs > /dev/null; then
        printf '[filter "lfs"]\n\tclean = git-lfs clean -- %%f\n\tprocess = git-lfs filter-process\n\tsmudge = git-lfs smudge -- %%f\n'
    fi
}

# Prints the commit that a name refers to.
id_of() { git rev-parse --verify --quiet "$1^{commit}" 2> /dev/null; }
is_whole() { git rev-list --objects --quiet "$1" --not "$since" > /dev/null 2>&1; }
is_usable() {
    [ "$1" = "$since" ] || is_whole "$1" && return
    remark "note the agent's commits up to $1 are damaged and were not exported"
    return 1
}
is_ancestor() { [ "$1" = "$2" ] || git merge-base --is-ancestor "$1" "$2" 2> /dev/null; }

# Adds a commit to $parents, unless one of them already contains it. The commit replaces parents that are its ancestors.
add_parent() {
    next= placed=
    for parent in $parents; do
        if is_ancestor "$1" "$parent"; then return 0; fi
        if ! is_ancestor "$parent" "$1"; then
            next="$next $parent"
        elif [ -z "$placed" ]; then
            next="$next $1" placed=1
        fi
    done
    [ -n "$placed" ] || next="$next $1"
    parents=${next# }
}
# Finds the parents of the new commit: the branch, HEAD and MERGE_HEAD. `first` is the first parent.
find_ground() {
    parents=$since first=$since merging=
    tip=$(id_of "$branch") && [ "$tip" != "$replaced" ] && is_usable "$tip" && add_parent "$tip"
    head=$(id_of HEAD) && [ "$head" != "$tip" ] && [ "$head" != "$replaced" ] && is_usable "$head" && add_parent "$head"
    first=${parents%% *}
    plain_file "$twin/MERGE_HEAD" || return 0
    for other in $(head -c 65536 -- "$twin/MERGE_HEAD"); do
        case $other in *[!0-9a-f]*) continue ;; esac
        [ "${#other}" -eq "${#since}" ] && other=$(id_of "$other") && is_usable "$other" || continue
        is_ancestor "$other" "$first" && continue
        case " $parents $merging " in *" $other "*) ;; *) merging="$merging $other" ;; esac
    done
}

# Moves aside special files that would block git when it opens them by name, and large files that git would read into memory.
move_aside() {
    set --
    for name in $opened; do set -- "$@" -o -name "$name"; done
    shift
    cd -- "$worktree" || return
    find . -xdev -mindepth 1 -name .git -prune -o \( "$@" \) ! -type d ! -type l \( ! -type f -o -size "+${opened_limit}c" \) -print0 > "$tmp/odd"
    find . -xdev -mindepth 1 -name .git -prune -o \( "$@" \) -type l -print0 | xargs -0 -r sh -c '
        limit=$1; shift
        for link do
            [ -e "$link" ] || continue
            # Kernel files such as those in /proc have no size, and some of them never end.
            [ -f "$link" ] && [ -s "$link" ] && [ "$(stat -L -c %s -- "$link")" -le "$limit" ] || printf "%s\0" "$link"
        done' sh "$opened_limit" >> "$tmp/odd"
    # Git opens these files in every folder that a `.git` file can point to.
    find . -xdev -mindepth 2 \( -type p -o -type s -o -type b -o -type c \) -print0 \
        | grep -z -E "/($(echo "$opened_inside" | tr ' ' '|'))\$" >> "$tmp/odd"
    [ -s "$tmp/odd" ] || return 0
    head -z -n "$left_out_limit" "$tmp/odd" | xargs -0 -r sh -c '
        for odd do
            n=1
            while [ -e "$odd.aside-$n" ] || [ -L "$odd.aside-$n" ]; do n=$((n + 1)); done
            kind=$(stat -c %F -- "$odd")
            mv -f -- "$odd" "$odd.aside-$n" || continue
            printf "note \`%s\` is a %s, which git must not open; it was renamed to \`%s\` in the same folder\0" "${odd#./}" "$kind" "${odd##*/}.aside-$n"
        done' sh > "$tmp/moved"
    head -z -n "$named_limit" "$tmp/moved" >> "$tmp/remarks"
    more=$(($(count "$tmp/odd") - named_limit))
    [ "$more" -le 0 ] || remark "note moved aside or removed $more more files that git would have opened"
    # More files than $left_out_limit cannot be an accident. FIFOs, sockets and devices have no content, so they are deleted.
    find . -xdev -mindepth 1 \( "$@" \) ! -type d ! -type f ! -type l -delete
    set --
    for name in $opened_inside; do set -- "$@" -o -name "$name"; done
    shift
    find . -xdev -mindepth 2 \( "$@" \) ! -type d ! -type f ! -type l -delete
    set --
    for name in $opened; do set -- "$@" -o -name "$name"; done
    shift
    find . -xdev -mindepth 1 -name .git -prune -o \( "$@" \) -type f -size "+${opened_limit}c" -print0 > "$tmp/odd"
    [ ! -s "$tmp/odd" ] || fail 7 "the worktree has $(count "$tmp/odd") more files like \`.gitignore\` that are too large; delete them"
}

# Writes nested repositories to $tmp/nested: folders where git would look for a repository. Like git, the function skips
# ignored folders and folders with files in the index.
find_nested() {
    find . -xdev -mindepth 2 -name .git -prune \( -type d -o -type f -o -type l \) -printf '%P\0' | xargs -0 -r sh -c '
        for git do
            if [ ! -d "$git" ] || [ -L "$git" ] || [ -e "$git/HEAD" ] || [ -L "$git/HEAD" ]; then printf "%s/\0" "${git%/.git}"; fi
        done' sh | sort -z > "$tmp/candidates"
    : > "$tmp/nested"
    [ -s "$tmp/candidates" ] || return 0
    # List each folder with files in the index once.
    git ls-files -z | grep -z / | sed -z 's,/[^/]*$,/,' | uniq -z > "$tmp/folders"
    while [ -s "$tmp/folders" ]; do
        cat "$tmp/folders" >> "$tmp/above"
        sed -z 's,[^/]*/$,,' "$tmp/folders" | grep -z . | uniq -z > "$tmp/next"
        mv -f -- "$tmp/next" "$tmp/folders"
    done
    sort -z -u "$tmp/above" 2> /dev/null | comm -z -13 - "$tmp/candidates" | sed -z 's,/$,,' > "$tmp/untracked"
    rm -f -- "$tmp/above"
    # The prefix `./` keeps git from reading a name as a pathspec. Exit code 1 means that no folder is ignored.
    sed -z 's,^,./,' "$tmp/untracked" | git check-ignore -z --stdin > "$tmp/ignoring" || [ $? -eq 1 ] || return
    sed -z 's,^\./,,' "$tmp/ignoring" | sort -z > "$tmp/ignored"
    # Because of the trailing slash, a folder sorts directly before the folders in it.
    sort -z "$tmp/untracked" | comm -z -13 "$tmp/ignored" - | sed -z 's,$,/,' | sort -z | xargs -0 -r sh -c '
        last=
        for folder do
            case $folder in "$last"*) [ -z "$last" ] || continue ;; esac
            last=$folder
            printf "%s\0" "${folder%/}"
        done' sh > "$tmp/nested"
}

# Checks the sizes of new and changed files before git reads them. If files are too large, lists them in $tmp/heavy as `size<TAB>path`.
weigh() {
    : > "$tmp/heavy"
    { printf '.\0' && sed -z 's/^/:(exclude,literal)/' "$tmp/left-out"; } > "$tmp/spec"
    [ "$(wc -c < "$tmp/spec")" -le 1000000 ] || fail 7 "the worktree has $(count "$tmp/nested") nested repositories; delete them or add them to \`.gitignore\`"
    xargs -0 -s 1500000 git ls-files --others --exclude-standard -z -- < "$tmp/spec" > "$tmp/others" || return
    grep -z '/$' "$tmp/others" | sed -z 's,/$,,' > "$tmp/found-nested"
    cat "$tmp/found-nested" >> "$tmp/nested"
    cat "$tmp/found-nested" >> "$tmp/left-out"
    new_files=$(grep -z -c -v '/$' "$tmp/others")
    [ "$new_files" -le "$listed_limit" ] || fail_for_number
    git ls-files -z > "$tmp/tracked" || return
    sort -z "$tmp/tracked" > "$tmp/tracked-sorted"
    cat "$tmp/tracked" "$tmp/others" | xargs -0 -r stat --printf '%f %s\t%n\0' -- 2> /dev/null \
        | grep -z '^8' | sed -z 's/^[0-9a-f]* //' | sort -z > "$tmp/found"
    git ls-tree -r -l -z --full-tree "$first" | sed -z 's/^[^\t]* \([0-9][0-9]*\)\t/\1\t/' | sort -z > "$tmp/expected"
    comm -z -13 "$tmp/expected" "$tmp/found" > "$tmp/changed"
    if is_open; then ask_host; fi
    [ "$new_files" -le "$new_files_limit" ] || fail_for_number
    too_heavy "$file_limit" "$commit_limit" < "$tmp/changed" > "$tmp/heavy"
    [ -s "$tmp/heavy" ] || return 0
    if command -v git-lfs > /dev/null; then
        find_large
        comm -z -23 "$tmp/changed" "$tmp/large" | too_heavy "$file_limit" "$commit_limit" > "$tmp/heavy"
        comm -z -12 "$tmp/changed" "$tmp/large" | too_heavy "$lfs_file_limit" "$lfs_limit" >> "$tmp/heavy"
    fi
    not_behind_links < "$tmp/heavy" > "$tmp/of-worktree" && mv -f -- "$tmp/of-worktree" "$tmp/heavy" || return
    heavies=$(count "$tmp/heavy")
    [ "$heavies" -le "$left_out_limit" ] || fail 7 "the worktree has $heavies files that are too large; delete them or add them to \`.gitignore\`"
}
fail_for_number() { fail 7 "the worktree has $new_files new files, more than fit in one commit; delete them or add them to \`.gitignore\`"; }
# Writes the new and changed files that git-lfs stores to $tmp/large, as `size<TAB>path`.
find_large() {
    : > "$tmp/large"
    command -v git-lfs > /dev/null || return 0
    path_of < "$tmp/changed" | git check-attr -z --stdin filter | xargs -0 -r -n 2997 sh -c '
        while [ $# -ge 3 ]; do
            [ "$3" != lfs ] || printf "%s\0" "$1"
            shift 3
        done' sh | xargs -0 -r stat --printf '%s\t%n\0' -- 2> /dev/null | sort -z > "$tmp/large"
}
# Succeeds if the host must decide about new files and has not done so: some may be generated, or there are more than the limits allow.
is_open() {
    ! present "$leave_out" && [ "$mode" != sync ] || return
    [ "$ask" != always ] && [ "$new_files" -le "$run_files" ] || return 0
    ! grep -z -q -E "$marker_path|$stored_file|$compiled_file" "$tmp/others" || return 0
    too_heavy "$run_file_bytes" "$run_bytes" < "$tmp/changed" > "$tmp/beyond"
    [ -s "$tmp/beyond" ]
}
# Lists the files that the commit would add or change, and ends the script.
ask_host() {
    find_large
    path_of < "$tmp/large" | sort -z > "$tmp/large-paths"
    {
        printf 'inventory 1\0'
        grep -z -v '/$' "$tmp/others" | sort -z | comm -z -23 - "$tmp/large-paths" | xargs -0 -r stat --printf 'new %s %n\0' -- 2> /dev/null
        not_behind_links < "$tmp/changed" | path_of | sort -z | comm -z -12 - "$tmp/tracked-sorted" | comm -z -23 - "$tmp/large-paths" \
            | xargs -0 -r stat --printf 'changed %s %n\0' -- 2> /dev/null
        sed -z 's/^\([0-9]*\)\t/large \1 /' "$tmp/large"
        xargs -0 -s 1500000 git ls-files --others --directory --no-empty-directory --exclude-standard -z -- < "$tmp/spec" \
            | grep -z '/$' | sed -z 's,^,folder ,; s,/$,,'
        grep -z -E "$marker_path" "$tmp/others" | head -z -n "$left_out_limit" | xargs -0 -r sh -c '
            start=$1; shift
            for marker do
                [ -f "$marker" ] && ! [ -L "$marker" ] || continue
                printf "marker %s\0" "$marker"
                head -c "$start" -- "$marker" | tr -d "\0"
                printf "\0"
            done' sh "$marker_start"
        # One compiled file shows that Python wrote its folder.
        grep -z -E "$compiled_file" "$tmp/others" | sed -z 's,[^/]*$,,' | sort -z -u | head -z -n "$left_out_limit" | xargs -0 -r sh -c '
            for folder do
                for marker in "$folder"*.pyc; do
                    [ -f "$marker" ] && ! [ -L "$marker" ] || continue
                    printf "marker %s\0" "$marker"
                    head -c 16 -- "$marker" | tr -d "\0"
                    printf "\0"
                    break
                done
            done' sh
        printf 'end\0'
    } > "$out/inventory.part" && mv -f -- "$out/inventory.part" "$out/inventory" && cp -- "$tmp/remarks" "$out/remarks" \
        || fail 5 'could not list the new files'
    exit 9
}
# Adds what the host decided to leave out to $tmp/left-out. Files of the commit keep their previous versions.
leave_chosen_out() {
    : > "$tmp/chosen"
    ! present "$leave_out" || sort -z -u "$leave_out" > "$tmp/chosen"
    cat "$tmp/left-out" > "$tmp/left-out-of-all"
    cat "$tmp/chosen" >> "$tmp/left-out"
}
# Reads `size<TAB>path` records from stdin, accepts the smallest first, and prints those that are too large or no longer fit.
too_heavy() {
    sort -z -n > "$tmp/sorted"
    taken=0 sum=0
    cut -z -f 1 "$tmp/sorted" | tr '\0' '\n' > "$tmp/sizes"
    while read -r size; do
        [ "$size" -le "$1" ] || break
        sum=$((sum + size))
        [ "$sum" -le "$2" ] || break
        taken=$((taken + 1))
    done < "$tmp/sizes"
    tail -z -n "+$((taken + 1))" "$tmp/sorted"
}
# Leaves files that are too large out of the commit. The commit keeps their previous versions, which are listed in $tmp/kept-back.
leave_heavy_out() {
    : > "$tmp/kept-back"
    path_of < "$tmp/heavy" | sort -z > "$tmp/heavy-paths"
    cat "$tmp/heavy-paths" >> "$tmp/left-out"
    cat "$tmp/heavy-paths" >> "$tmp/left-out-of-all"
    sort -z -u "$tmp/heavy-paths" "$tmp/chosen" | comm -z -12 "$tmp/tracked-sorted" - > "$tmp/heavy-tracked"
    if [ -s "$tmp/heavy-tracked" ]; then
        xargs -0 git --literal-pathspecs ls-files --stage -z -- < "$tmp/heavy-tracked" > "$tmp/kept-back" || return
        forget "$tmp/kept-back" || return
    fi
    [ -s "$tmp/heavy-paths" ] || return 0
    limits="a commit may contain files of up to $(shown_size "$file_limit"), and $(shown_size "$commit_limit") in total"
    sort -z -n -r "$tmp/heavy" | head -z -n "$named_limit" > "$tmp/named"
    n=0
    while n=$((n + 1)) && [ "$n" -le "$(count "$tmp/named")" ]; do
        named=$(sed -z -n "${n}p" "$tmp/named" | tr -d '\0')
        kept=
        ! printf '%s\0' "${named#*"$tab"}" | comm -z -12 - "$tmp/heavy-tracked" | grep -q . || kept=', so the last version was kept'
        remark "note too large to commit$kept: \`${named#*"$tab"}\` ($(shown_size "${named%%"$tab"*}")); left in the worktree ($limits)"
    done
    more=$(($(count "$tmp/heavy") - n + 1))
    [ "$more" -le 0 ] || remark "note too large to commit: $more more files"
}
# Reads `…<TAB>path` records from stdin, and prints those without a link in the path. A file behind a link is not in the worktree.
not_behind_links() {
    xargs -0 -r sh -c '
        for record do
            above=${record#*"	"}
            while :; do
                case $above in */*) above=${above%/*} ;; *) above=; break ;; esac
                [ ! -L "$above" ] || break
            done
            [ -n "$above" ] || printf "%s\0" "$record"
        done' sh
}

# Reads the agent's index, which is used only for submodules and conflicts.
read_agents_index() {
    : > "$tmp/agents"
    plain_file "$twin/index" && [ "$(stat -c %s -- "$twin/index")" -le "$index_limit" ] && cp -- "$twin/index" "$tmp/agents-index" || return 0
    GIT_INDEX_FILE=$tmp/agents-index git ls-files --stage -z > "$tmp/agents" 2> /dev/null || : > "$tmp/agents"
}

# Writes the submodules in the index to a file, as `mode id stage<TAB>path`.
gitlinks() { git ls-files --stage -z > "$tmp/listed" && { grep -z '^160000 ' "$tmp/listed" > "$1" || :; }; }
path_of() { sed -z 's/^[^\t]*\t//'; }
forget() {
    [ -s "$1" ] || return 0
    sed -z "s/^[^\t]*/0 $zero/" "$1" | git update-index -z --index-info
}
# Lists the files of the commit that the worktree does not contain on purpose in $tmp/absent: those outside of the cone that do not exist
# and whose place nothing took. Then removes them from the index.
set_absent_aside() {
    : > "$tmp/absent"
    [ -s "$cone" ] || return 0
    git ls-files --stage -z > "$tmp/listed" || return
    grep -z -v -E -f "$cone" "$tmp/listed" | xargs -0 -r sh -c '
        gone=
        for record do
            path=${record#*"	"}
            if [ -n "$gone" ]; then
                case $path in "$gone"*) printf "%s\0" "$record"; continue ;; esac
            fi
            ! { [ -e "$path" ] || [ -L "$path" ]; } || continue
            above=$path missing=
            while :; do
                case $above in */*) above=${above%/*} ;; *) break ;; esac
                if [ -L "$above" ]; then continue 2; fi
                if [ ! -e "$above" ]; then missing=$above/; elif [ ! -d "$above" ]; then continue 2; fi
            done
            gone=$missing
            printf "%s\0" "$record"
        done' sh > "$tmp/absent"
    forget "$tmp/absent"
}
# Writes the worktree to a tree object, and stores its ID in $tree. Submodules are not in the index while git reads the worktree, so
# that git does not enter them.
stage() {
    read_agents_index
    ! grep -z -q '^[0-7]* [0-9a-f]* [1-3]' "$tmp/agents" || had_conflicts=1
    grep -z '^160000 [0-9a-f]* 0' "$tmp/agents" > "$tmp/their-links"
    path_of < "$tmp/their-links" | sort -z -u > "$tmp/linked"
    git read-tree "$first" && set_absent_aside && gitlinks "$tmp/links" || return
    : > "$tmp/known"
    if [ -s "$tmp/linked" ] || [ -s "$tmp/links" ]; then
        for parent in $parents; do git ls-tree -r -z --full-tree "$parent" | grep -z '^160000 ' | path_of; done | sort -z -u > "$tmp/known"
    fi
    comm -z -12 "$tmp/linked" "$tmp/known" > "$tmp/staged"
    {
        GIT_INDEX_FILE=$tmp/agents-index xargs -0 -r git --literal-pathspecs ls-files --stage -z -- < "$tmp/staged" | grep -z '^160000 '
        cat "$tmp/links"
    } | sort -z -s -u -t "$tab" -k 2 > "$tmp/records"
    path_of < "$tmp/records" | sort -z -u > "$tmp/kept"
    forget "$tmp/links" || return

    find_nested || return
    # Files in the folder of a submodule that the host checked out belong to the submodule.
    sort -z -u "$submodules" | comm -z -12 - "$tmp/kept" \
        | xargs -0 -r -n 1 sh -c '[ -L "$1" ] || [ ! -d "$1" ] || printf "%s\0" "$1"' sh > "$tmp/inside"
    cat "$tmp/nested" "$tmp/inside" > "$tmp/left-out"
    leave_chosen_out && weigh && leave_heavy_out || return
    # Exit code 1 means that some files differ.
    git update-index -q --really-refresh > /dev/null 2>&1 || [ $? -eq 1 ] || return
    if [ -s "$tmp/chosen" ] || [ -z "$new_too" ]; then
        # A folder that the host chose may contain files of the commit, whose changes belong into the new commit.
        { printf '.\0' && sed -z 's/^/:(exclude,literal)/' "$tmp/left-out-of-all"; } > "$tmp/paths"
        add --update --sparse || return
        cp -- "$tmp/words" "$tmp/words-of-update"
    fi
    { printf '.\0' && sed -z 's/^/:(exclude,literal)/' "$tmp/left-out"; } > "$tmp/paths"
    [ -z "$new_too" ] || add --all --sparse || return
    [ -z "$new_too" ] || [ ! -e "$tmp/words-of-update" ] || cat "$tmp/words-of-update" >> "$tmp/words"
    gitlinks "$tmp/came" && forget "$tmp/came" || return
    bring_back < "$tmp/records" && cat "$tmp/kept-back" "$tmp/absent" | git update-index -z --index-info || return

    { comm -z -23 "$tmp/linked" "$tmp/known"; cat "$tmp/nested"; path_of < "$tmp/came"; } | sort -z -u | comm -z -23 - "$tmp/kept" > "$tmp/dropped"
    tree=$(git write-tree)
}
add() {
    git add "$@" --ignore-errors --pathspec-from-file="$tmp/paths" --pathspec-file-nul 2> "$tmp/words"
    added=$?
    case $added in
        0) return ;;
        # With --ignore-errors, exit code 1 means that some files were left out.
        1) grep -q '^error: \|^warning: could not open' "$tmp/words" && return ;;
        # Git before 2.34 does not support --sparse and does not need it.
        129) [ $# -eq 1 ] || { add "$1"; return; } ;;
    esac
    cat "$tmp/words" >&2
    return 1
}
# Puts submodules back into the index if their folders still exist.
bring_back() {
    put_back='record=$1; path=${record#*"	"}
        [ -d "$path" ] || exit 0
        above=$path
        while :; do
            [ ! -L "$above" ] || exit 0
            case $above in */*) above=${above%/*} ;; *) break ;; esac
        done
        [ -z "$(git --literal-pathspecs ls-files -- "$path" | head -n 1)" ] || exit 0
        printf "%s\0" "$record" | git update-index -z --index-info'
    xargs -0 -r -n 1 sh -c "$put_back" sh
}
stage_all() {
    cd -- "$worktree" || return
    had_conflicts=
    ! plain_file "$twin/info/sparse-checkout" || cmp -s "$patterns" "$twin/info/sparse-checkout" \
        || remark 'note the agent used `git sparse-checkout`; files that it removed from the worktree are deleted in the commit, unless they are outside of the repository'"'"'s folders for worktrees'
    move_aside && stage
}

# Moves the branch to a commit, and resets HEAD and the index of the agent repository to it.
stand_on_branch() {
    if ! git update-ref --no-deref "$branch" "$1" 2> "$tmp/words"; then
        cat "$tmp/words" >&2
        put_aside "$twin/refs" && { ! present "$twin/packed-refs" || put_aside "$twin/packed-refs"; } || return
        mkdir -p "$twin/refs/heads" "$twin/refs/tags" && rm -f "$tmp/git/packed-refs" && git update-ref --no-deref "$branch" "$1" || return
    fi
    printf 'ref: %s\n' "$branch" | replace_file "$twin/HEAD" || return
    # Git must not report files as deleted that the worktree does not contain on purpose.
    if [ -s "$tmp/absent" ]; then path_of < "$tmp/absent" | git update-index -z --skip-worktree --stdin || return; fi
    replace_file "$twin/index" < "$tmp/index" && touch -r "$tmp/index" -- "$twin/index" || return
    for name in MERGE_HEAD MERGE_MSG MERGE_MODE MERGE_RR AUTO_MERGE SQUASH_MSG CHERRY_PICK_HEAD REVERT_HEAD REBASE_HEAD \
        rebase-merge rebase-apply sequencer BISECT_LOG BISECT_START BISECT_TERMS BISECT_NAMES BISECT_EXPECTED_REV refs/bisect; do
        rm -rf -- "${twin:?}/$name"
    done
    plain_file "$twin/config" && ! present "$twin/reftable" && git config --file "$twin/config" --list > /dev/null 2>&1 && return
    ! present "$twin/config" || put_aside "$twin/config" || return
    write_plain_config | replace_file "$twin/config"
}
write_plain_config() {
    if [ "${#since}" -eq 64 ]; then version=1; else version=0; fi
    printf '[core]\n\trepositoryformatversion = %s\n\tbare = false\n\tlogallrefupdates = true\n' "$version"
    [ "$version" -eq 0 ] || printf '[extensions]\n\tobjectformat = sha256\n'
    printf '[gc]\n\tauto = 0\n'
}

commit() {
    stage_all || fail 5 'could not commit the worktree'
    [ -n "$had_conflicts" ] || parents="$parents$merging"
    make_commit
    if [ "$mode" = content ] && leave_out_refused; then make_commit; fi
    [ ! -s "$tmp/dropped" ] || remarks dropped < "$tmp/dropped"
    grep '^error: \|^warning: could not open' "$tmp/words" | tr '\n' '\0' | head -z -n 20 | remarks unreadable
}
make_commit() {
    if [ "$parents" = "$first" ] && [ "$tree" = "$(git rev-parse --verify "$first^{tree}")" ]; then
        new=$first
    else
        set --
        for parent in $parents; do set -- "$@" -p "$parent"; done
        new=$(git commit-tree "$tree" "$@" -F "$message") || fail 5 'could not create a commit'
    fi
}
# Removes from $tree the files that the host would refuse. Git reports the invalid objects, and the tree contains their paths. A tree
# is invalid if it contains a symbolic link with a name such as `.gitmodules`. Succeeds if a file was removed.
leave_out_refused() {
    printf '%s\n^%s\n' "$new" "$since" | git pack-objects --quiet --revs --stdout > "$out/check.pack" || return
    git index-pack --strict "$out/check.pack" > /dev/null 2> "$tmp/check"
    refused=$?
    rm -f -- "$out"/check.*
    [ "$refused" -ne 0 ] || return
    bad=$(sed -n 's/^error: object \([0-9a-f]*\): .*/\1/p' "$tmp/check" | sort -u | head -n 1000 | tr '\n' '|')
    git ls-tree -r -z --full-tree "$new" | grep -z -E "^[0-7]+ [a-z]+ (${bad%|})	|^120000 [^	]*	(.*/)?\.?[gG][iI][tT][^/]*$" | path_of > "$tmp/refused"
    [ -s "$tmp/refused" ] || return
    remarks 'unreadable the host refuses' < "$tmp/refused"
    sed -z "s/^/0 $zero	/" "$tmp/refused" | git update-index -z --index-info || return
    xargs -0 git --literal-pathspecs ls-tree -z --full-tree "$since" -- < "$tmp/refused" | grep -z -v '^040000 ' | git update-index -z --index-info
    tree=$(git write-tree)
}

# Moves the branch to the host's commit if that commit is newer and the worktree has no changes.
sync_branch() {
    new=$(id_of "$branch") && [ "$new" != "$replaced" ] && is_usable "$new" || new=
    [ -z "$new" ] || ! is_ancestor "$since" "$new" || return 0
    if [ -n "$new" ] && ! is_ancestor "$new" "$since"; then
        remark 'note the branch was not moved, because it has commits that the host does not have'
        return
    fi
    # New files, such as those that commits leave out, do not prevent the move.
    parents=$since first=$since new_too=
    stage_all || fail 5 'could not read the worktree'
    if [ "$tree" = "$(git rev-parse --verify "$since^{tree}")" ] && ! keeps_old_files; then
        new=$since
        stand_on_branch "$new" || fail 4 'could not move the branch'
        return
    fi
    parents=${new:-$since} new_too=1
    first=$parents
    stage_all || fail 5 'could not read the worktree'
    if [ "$tree" != "$(git rev-parse --verify "$since^{tree}")" ]; then
        if [ "$tree" != "$(git rev-parse --verify "$first^{tree}")" ] || ! git read-tree -m -u "$first" "$since"; then
            remark 'note the branch was not moved, because the worktree has changes'
            return
        fi
    fi
    new=$since
    stand_on_branch "$new" || fail 4 'could not move the branch'
}

# Succeeds if the worktree has files of the agent's branch that the host's commit does not have.
keeps_old_files() {
    [ -n "$new" ] || return
    git diff-tree -r -z --name-only --no-renames --diff-filter=D "$new" "$since" | xargs -0 -r sh -c '
        for old do
            ! { [ -e "$old" ] || [ -L "$old" ]; } || echo kept
        done' sh | grep -q kept
}

write_bundle() {
    [ "$new" != "$since" ] || return 0
    git bundle create --quiet "$out/bundle.part" "$branch" "^$since" && mv -f -- "$out/bundle.part" "$out/bundle"
}
write_result() {
    { printf 'harvest 1\0head %s\0' "$new" && cat "$tmp/remarks" && printf 'end\0'; } > "$out/result.part" && mv -f -- "$out/result.part" "$out/result"
}

rm -rf -- "$out/bundle" "$out/bundle.part" "$out/result" "$out/result.part" "$out/inventory" "$out/inventory.part"
open_twin || fail 4 'cannot use the agent repository'
clear_stale
git cat-file -e "$since^{commit}" 2> /dev/null || fail 3 "commit $since not found in the host's objects"
if [ "$mode" = sync ]; then
    sync_branch
else
    find_ground
    commit
    stand_on_branch "$new" || fail 4 'could not move the branch'
    write_bundle || fail 6 'could not write the bundle'
fi
repair
write_result || fail 6 'could not write the result'
