#!/usr/bin/env bash
# Starts a task and waits until it has finished. This is the script of the action in this folder. It needs curl and jq.
#
# It reads the variables that action.yml sets, and writes the outputs of the action. It fails if the run did not complete.
set -euo pipefail

url=${ORCH_URL:?the input url is empty}
url=${url%/}
: "${ORCH_TOKEN:?the input token is empty}" "${REPOSITORY:?the input repository is empty}" "${PROMPT:?the input prompt is empty}"
deadline=$((SECONDS + ${TIMEOUT_MINUTES:-60} * 60))
output=${GITHUB_OUTPUT:-/dev/null}
summary=${GITHUB_STEP_SUMMARY:-/dev/null}

fail() {
  echo "error: $1" >&2
  exit 1
}

# Calls the API and prints the body of the response. Retries after network errors and responses such as 502 and 503, because the
# server may be restarting. The body is written to a file first, so that the bodies of failed attempts are not printed.
response=$(mktemp)
trap 'rm -f "$response"' EXIT
api() {
  local path=$1
  shift
  if ! curl --silent --show-error --fail-with-body --retry 10 --retry-connrefused --max-time 60 --output "$response" \
    --header @<(echo "Authorization: Bearer $ORCH_TOKEN") "$@" "$url$path"; then
    fail "$(jq -er '"\(.detail) (\(.code))", (.hints[] | "hint: \(.)")' "$response" 2>/dev/null || echo "no valid response from $url")"
  fi
  cat "$response"
}

env_id=$(api /api/v1/envs | jq -r --arg name "$REPOSITORY" 'first(.items[] | select(.name == $name or .env_id == $name) | .env_id)')
[ -n "$env_id" ] || fail "repository not found: $REPOSITORY"

# A retried request must not create a second task, so it has an idempotency key. Running the workflow again creates a new task.
key="github-${GITHUB_RUN_ID:-$$}-${GITHUB_RUN_ATTEMPT:-1}-${GITHUB_JOB:-job}-${GITHUB_ACTION:-task}"
request=$(jq -n --arg env_id "$env_id" --arg prompt "$PROMPT" --arg ref "${REF:-}" \
  '{$env_id, $prompt} + if $ref == "" then {} else {$ref} end')
task=$(api /api/v1/tasks --json "$request" --header "Idempotency-Key: $key" | jq -r .task_id)
echo "task-id=$task" >>"$output"
echo "Task: $url/tasks/$task"

while true; do
  state=$(api "/api/v1/tasks/$task")
  [ "$(jq -r .active <<<"$state")" = true ] || break
  [ "$(jq -r '.question // empty | .number' <<<"$state")" = "" ] || fail "the task has a question: answer it at $url/tasks/$task"
  [ "$SECONDS" -lt "$deadline" ] || fail "the task is still running after ${TIMEOUT_MINUTES:-60} minutes: $url/tasks/$task"
  sleep "${POLL_SECONDS:-10}"
done

status=$(jq -r .status <<<"$state")
{
  echo "status=$status"
  echo "branch=$(jq -r .branch <<<"$state")"
} >>"$output"
# The agent's message is shown as indented code, so that it cannot add links or images to the summary.
{
  echo "### [Codex task]($url/tasks/$task): $status"
  echo
  jq -r '.runs[-1] | .error.message // .last_message // empty' <<<"$state" | sed 's/^/    /'
} >>"$summary"
echo "Status: $status"
[ "$status" = completed ]
