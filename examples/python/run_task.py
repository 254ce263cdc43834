#!/usr/bin/env python3
"""Creates a task, follows its run and prints the diff.

By default, the script connects to the server on this machine over its Unix socket, which needs no token.
To use a server elsewhere, set ORCH_URL (such as https://codex.example) and ORCH_TOKEN.

The exit code is 0 if the run completed, and 1 otherwise.
"""

import argparse
import json
import os
import sys
import uuid

from orchestrator import Client, Problem


def printable(text):
    """Replaces control characters, because an agent could use them to change what the terminal shows."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def environment_id(client, repository):
    """Returns the ID of the repository with this name or ID."""
    for environment in client.call("list_environments")["items"]:
        if repository in (environment["name"], environment["env_id"]):
            return environment["env_id"]
    sys.exit(f"error: repository not found: {repository}")


def follow(client, task_id):
    """Prints the agent's messages from every run of the task. Returns the task."""
    run = 1
    while True:
        for name, data in client.follow(task_id, run):
            if name == "problem":
                sys.exit(f"error: {json.loads(data)['detail']}")
            try:
                event = json.loads(data)
            except ValueError:
                continue  # Some programs print other text to the log.
            item = event.get("item", {}) if isinstance(event, dict) else {}
            if name == "message" and event.get("type") == "item.completed" and item.get("type") == "agent_message":
                print(printable(item["text"]), flush=True)
        task = client.call("show_task", task_id=task_id)
        # The server can retry a run that failed. Each retry is a separate run.
        if len(task["runs"]) == run:
            return task
        run = len(task["runs"])


def main():
    parser = argparse.ArgumentParser(description="Create a task, follow its run and print the diff.")
    parser.add_argument("repository", help="name or ID of the repository")
    parser.add_argument("prompt", help="what the agent should do")
    arguments = parser.parse_args()
    client = Client(os.environ.get("ORCH_URL"), os.environ.get("ORCH_TOKEN"))
    body = {"env_id": environment_id(client, arguments.repository), "prompt": arguments.prompt}
    # The key makes the request safe to repeat: the same key never creates a second task.
    task = client.call("create_task", body, idempotency_key=str(uuid.uuid4()))
    print(f"task: {task['task_id']}", flush=True)
    task = follow(client, task["task_id"])
    last = task["runs"][-1]
    print(f"run: {last['status']}")
    if last.get("error"):
        print(f"error: {printable(last['error']['message'])}")
    print(printable(client.call("show_diff", task_id=task["task_id"], format="patch")), end="")
    return 0 if last["status"] == "completed" else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Problem as problem:
        sys.exit("\n".join([f"error: {problem} ({problem.code})", *(f"hint: {hint}" for hint in problem.hints)]))
