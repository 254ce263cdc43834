"""A client of the Codex Orchestrator API that uses only the standard library.

The client reads the OpenAPI document. To call an operation, pass its ID, and its parameters as keyword arguments:

    client = Client()
    client.call("show_task", task_id="…")
    client.call("list_tasks", group="running", limit=10)

The client checks the parameters and the fields of the body before it sends a request.
"""

import http.client
import json
import os
import socket
import time
import urllib.parse
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.json"

# The server sends a comment every 15 seconds while a stream is silent.
TIMEOUT_SECONDS = 60
RECONNECT_SECONDS = 1
RECONNECT_ATTEMPTS = 60


class Problem(Exception):
    """An error that the server reported (RFC 9457)."""

    def __init__(self, status, body):
        self.status = status
        self.code = body.get("code", "unknown")
        self.hints = body.get("hints", [])
        super().__init__(body.get("detail", f"HTTP status {status}"))


class UnixConnection(http.client.HTTPConnection):
    """A connection to the server's Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=TIMEOUT_SECONDS)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Client:
    """Calls the operations of the API.

    Without a URL, it uses the Unix socket of the server on this machine, which needs no token.
    """

    def __init__(self, url=None, token=None, document=DOCUMENT):
        home = os.environ.get("ORCH_HOME") or Path.home() / ".codex-orchestrator"
        self.url = urllib.parse.urlsplit(url) if url else None
        self.socket = Path(home) / "orchestrator.sock"
        self.token = token
        self.document = json.loads(Path(document).read_text())
        self.operations = {
            operation["operationId"]: (method.upper(), path, operation)
            for path, methods in self.document["paths"].items()
            for method, operation in methods.items()
        }

    def call(self, operation_id, body=None, **parameters):
        """Calls an operation. Returns the JSON value of the response, or its text."""
        response = self._send(operation_id, body, parameters)
        with response:
            content = response.read().decode()
        return json.loads(content) if "json" in response.headers.get("content-type", "") else content

    def follow(self, task_id, run):
        """Yields the name and the data of each event of a run, up to `end`.

        If the connection breaks, the stream resumes after the last event that was received: no event is lost or repeated.
        """
        position = None
        failures = 0
        while True:
            try:
                response = self._send("follow_run", None, {"task_id": task_id, "n": run, "last_event_id": position})
                with response:
                    for event_id, name, data in read_events(response):
                        failures = 0
                        position = event_id or position
                        yield name, data
                        if name in ("end", "problem"):
                            return
                error = ConnectionError("the server closed the stream")
            except (OSError, http.client.HTTPException) as caught:
                error = caught
            except Problem as problem:
                # A reverse proxy returns these status codes while the server restarts.
                if problem.status not in (502, 503, 504):
                    raise
                error = problem
            failures += 1
            if failures >= RECONNECT_ATTEMPTS:
                raise error
            time.sleep(RECONNECT_SECONDS)

    def _send(self, operation_id, body, parameters):
        method, path, operation = self.operations[operation_id]
        query, headers = {}, {"accept": "*/*"}
        known = {p["name"].lower().replace("-", "_"): p for p in operation.get("parameters", [])}
        for name, value in parameters.items():
            if name not in known:
                raise TypeError(f"{operation_id} has no parameter {name!r}")
            if value is None:
                continue
            parameter = known.pop(name)
            if parameter["in"] == "path":
                path = path.replace("{%s}" % parameter["name"], urllib.parse.quote(str(value), safe=""))
            elif parameter["in"] == "query":
                query[parameter["name"]] = value
            else:
                headers[parameter["name"]] = str(value)
        missing = [name for name, parameter in known.items() if parameter.get("required")]
        if missing:
            raise TypeError(f"{operation_id} needs {', '.join(missing)}")
        if query:
            path += "?" + urllib.parse.urlencode(query)
        content = None
        if body is not None:
            self._check_body(operation_id, operation, body)
            content = json.dumps(body)
            headers["content-type"] = "application/json"
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        connection = self._connect()
        connection.request(method, (self.url.path.rstrip("/") if self.url else "") + path, content, headers)
        response = connection.getresponse()
        if response.status >= 400:
            raise read_problem(response)
        return response

    def _connect(self):
        if self.url is None:
            return UnixConnection(str(self.socket))
        kind = http.client.HTTPSConnection if self.url.scheme == "https" else http.client.HTTPConnection
        return kind(self.url.hostname, self.url.port, timeout=TIMEOUT_SECONDS)

    def _check_body(self, operation_id, operation, body):
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        if "$ref" in schema:
            schema = self.document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        unknown = body.keys() - schema["properties"].keys()
        missing = set(schema.get("required", [])) - body.keys()
        if unknown or missing:
            raise TypeError(f"body of {operation_id}: unknown fields {sorted(unknown)}, missing fields {sorted(missing)}")


def read_events(lines):
    """Yields the ID, the name and the data of each server-sent event."""
    event_id, name, data = None, "message", []
    for line in lines:
        field, _, value = line.decode().rstrip("\r\n").partition(":")
        value = value.removeprefix(" ")
        if field == "id":
            event_id = value
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif not field and not value:
            if data:
                yield event_id, name, "\n".join(data)
            name, data = "message", []


def read_problem(response):
    """Returns the problem that a response describes. A reverse proxy may answer with something else."""
    with response:
        content = response.read()
    try:
        body = json.loads(content)
    except ValueError:
        body = {}
    return Problem(response.status, body if isinstance(body, dict) else {})
