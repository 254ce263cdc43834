#!/usr/bin/env bash
# Creates a task, follows its run and shows the result, with curl and jq.
#
# Usage: examples/curl.sh REPOSITORY PROMPT
#
# REPOSITORY is a name or an ID from `codex-orchestrator env list`.
#
# By default, the script connects to the server on this machine over its Unix socket, which needs no token.
# To use a server elsewhere, set ORCH_URL (such as https://codex.example) and ORCH_TOKEN.
#
# The exit code is 0 if the run completed, and 1 otherwise.
set -euo pipefail

if [ $# -ne 2 ]; then
  echo "usage: $0 REPOSITORY PROMPT" >&2
  exit 2
fi
repository=$1
prompt=$2

if [ -n "${ORCH_URL:-}" ]; then
  url=${ORCH_URL%/}
  connection=()
else
  url=http://localhost
  connection=(--unix-socket "${ORCH_HOME:-$HOME/.codex-orchestrator}/orchestrator.sock")
fi

# Calls curl for a path of the API. The token is passed in a file, because other users can read the arguments of a program.
call() {
  local path=$1
  shift
  if [ -n "${ORCH_TOKEN:-}" ]; then
    curl --silent "${connection[@]}" --header @<(echo "Authorization: Bearer $ORCH_TOKEN") "$@" "$url$path"
  else
    curl --silent "${connection[@]}" "$@" "$url$path"
  fi
}

# Prints the body of a successful response. Otherwise prints the problem, with its hints, and fails.
api() {
  local body code=0
  body=$(call "$@" --fail-with-body) || code=$?
  if [ $code -eq 0 ]; then
    printf '%s\n' "$body"
    return
  fi
  jq -er '"error: \(.detail) (\(.code))", (.hints[] | "hint: \(.)")' <<<"$body" >&2 2>/dev/null ||
    echo "error: no valid response from $url (curl exit code $code)" >&2
  return 1
}

# Removes control characters, because an agent could use them to change what the terminal shows.
printable() {
  LC_ALL=C tr -d '\000-\010\013-\037\177'
}

# Reads the event stream of a run. Prints the agent's messages, and sets `outcome` when the run has ended.
# If the connection breaks, the stream resumes after the last event that was received.
outcome=
follow() {
  local path=$1 id=0 name=message data='' line
  outcome=
  while [ -z "$outcome" ]; do
    while IFS= read -r line; do
      case $line in
        'id: '*) id=${line#id: } ;;
        'event: '*) name=${line#event: } ;;
        'data: '*) data+=${line#data: } ;;
        '')
          if [ "$name" = end ]; then
            outcome=$(jq -r .status <<<"$data")
          elif [ "$name" = problem ]; then
            outcome=$(jq -r '"cannot be followed: \(.detail)"' <<<"$data")
          else
            jq -Rr 'fromjson? | select(.type == "item.completed" and .item.type == "agent_message") | .item.text' <<<"$data" | printable
          fi
          name=message data=''
          ;;
      esac
    done < <(call "$path" --show-error --no-buffer --fail --header "Last-Event-ID: $id")
    [ -n "$outcome" ] || sleep 1
  done
}

env_id=$(api /api/v1/envs | jq -r --arg name "$repository" 'first(.items[] | select(.name == $name or .env_id == $name) | .env_id)')
if [ -z "$env_id" ]; then
  echo "error: repository not found: $repository" >&2
  exit 1
fi

# The idempotency key makes the request safe to repeat: the same key never creates a second task.
key=$(cat /proc/sys/kernel/random/uuid)
request=$(jq -n --arg env_id "$env_id" --arg prompt "$prompt" '{$env_id, $prompt}')
task=$(api /api/v1/tasks --json "$request" --header "Idempotency-Key: $key" | jq -r .task_id)
echo "task: $task"

# The server can retry a run that failed. Each retry is a separate run.
run=1
while true; do
  follow "/api/v1/tasks/$task/runs/$run/events"
  result=$(api "/api/v1/tasks/$task")
  last=$(jq '.runs | length' <<<"$result")
  [ "$last" -gt "$run" ] || break
  run=$last
done

echo "run: $outcome"
jq -r '.runs[-1].error // empty | "error: \(.message)", (.hints[]? | "hint: \(.)")' <<<"$result" | printable
echo "branch: $(jq -r .branch <<<"$result")"
api "/api/v1/tasks/$task/diff" | jq -r '.files[] | "  \(.new_path // .old_path)  +\(.additions) -\(.deletions)"' | printable
[ "$outcome" = completed ]
