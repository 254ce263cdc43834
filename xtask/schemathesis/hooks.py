"""Changes valid requests that break a rule which JSON Schema cannot express, so that the server must accept them.

Invalid requests are sent unchanged. Each rule is between two values of a request or of several requests, except for images, whose
content must be a complete image.
"""

import itertools

import schemathesis

# An image with one pixel.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

numbers = itertools.count(1)


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if isinstance(case.body, dict):
        complete(case.body)
        if case.operation.definition.raw["operationId"] == "push_task" and case.body.keys() & {"title", "body", "draft"}:
            # Only pull requests have these values.
            case.body["pull_request"] = True
        if case.operation.definition.raw["operationId"] == "edit_setup" and case.body.get("description"):
            # A description is TOML.
            case.body["description"] = '[setup]\nrun = "true"\n'
        if case.operation.definition.raw["operationId"] == "edit_environment" and case.body.get("default_branch"):
            # The branch exists, if the repository was cloned.
            case.body["default_branch"] = "main"
        if case.operation.definition.raw["operationId"] == "commit_files":
            # A path has no empty parts.
            case.body["paths"] = [f"file-{number}" for number, _ in enumerate(case.body["paths"])]
    if case.operation.path.endswith(("/setup/diff", "/setup/accept")):
        # The branch of a description exists.
        for values in (case.query, case.body):
            if isinstance(values, dict) and "branch" in values:
                values["branch"] = "main"
    name = next((name for name in case.headers or {} if name.lower() == "idempotency-key"), None)
    if name:
        # A key cannot be used for two different requests.
        case.headers[name] = f"{next(numbers)}-{case.headers[name]}"[:200]
    cursor = (case.query or {}).get("cursor")
    if cursor and str(cursor).startswith("queue_") != (case.query.get("group") == "queued"):
        # A cursor continues only the list that it comes from.
        del case.query["cursor"]


def complete(body):
    for image in body.get("images") or []:
        image["data"] = PNG
    container = body.get("container") or {}
    if container.get("allow_hosts"):
        # Hosts are allowed only if the network is `allow`.
        container["network"] = "allow"
    if container.get("image") and container.get("dockerfile"):
        # A container has an image or a Dockerfile.
        del container["dockerfile"]
    for name in body.get("variables") or {}:
        # A name is that of a variable or of a secret.
        (body.get("secrets") or {}).pop(name, None)
