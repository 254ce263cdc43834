"""Mirrors of nodejs.org, an npm registry, a Go module proxy and Adoptium's API, with tiny stand-ins for the tools.

Runs in a container without a network: serves the files, runs the command in its arguments, and exits with its exit code. With the
variable DAMAGED, the downloads do not have the published checksums.
"""

import base64, hashlib, http.server, io, json, os, subprocess, sys, tarfile, threading, zipfile

DAMAGE = b"x" if os.environ.get("DAMAGED") else b""
URL = "http://127.0.0.1:8000"
NODE, GO = ("arm64", "arm64") if os.uname().machine == "aarch64" else ("x64", "amd64")
files = {}


def script(text):
    return ("#!/bin/sh\necho '%s'\n" % text).encode()


def tar(mode, entries):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:" + mode) as archive:
        for name, content in entries.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def npm(name, versions, entries):
    about = {}
    for version in versions:
        package = tar("gz", {"package/" + path: content for path, content in entries.items()})
        integrity = "sha512-" + base64.b64encode(hashlib.sha512(package).digest()).decode()
        path = "/npm/%s-%s.tgz" % (name, version)
        files[path] = package + DAMAGE
        about[version] = {"dist": {"tarball": URL + path, "integrity": integrity}}
    files["/npm/" + name] = json.dumps({"versions": about}).encode()


npm("yarn", ["1.22.22", "1.22.3", "2.4.3"], {"bin/yarn.js": script("1.22.22")})
npm("pnpm", ["10.2.0", "10.10.0", "11.0.0-rc.1"], {"bin/pnpm.cjs": script("10.10.0"), "bin/pnpx.cjs": script("x")})
npm("npm", ["10.9.0", "11.1.0"], {"bin/npm-cli.js": script("11.1.0"), "bin/npx-cli.js": script("x")})
npm("node-linux-" + NODE, ["22.9.0", "22.10.0", "23.0.0"], {"bin/node": script("v22.10.0"), "package.json": b"{}"})

node = {"node/bin/node": script("v24.1.0"), "node/lib/node_modules/npm/bin/npm-cli.js": script("11.0.0")}
node["node/lib/node_modules/npm/bin/npx-cli.js"] = node["node/bin/npm"] = script("11.0.0")
packed = tar("xz", node)
files["/dist/index.json"] = json.dumps([{"version": version} for version in ["v24.1.0", "v24.0.9", "v22.1.0"]]).encode()
files["/dist/v24.1.0/node-v24.1.0-linux-%s.tar.xz" % NODE] = packed + DAMAGE
files["/dist/v24.1.0/SHASUMS256.txt"] = ("%s  node-v24.1.0-linux-%s.tar.xz\n" % (sha256(packed), NODE)).encode()

name = "v0.0.1-go1.23.10.linux-" + GO
module = {"bin/go": script("go version go1.23.10"), "bin/gofmt": script("x"), "pkg/tool/linux_amd64/compile": script("x")}
module["src/_go.mod"] = b"module std\n"
module = {"golang.org/toolchain@%s/%s" % (name, path): content for path, content in module.items()}
listed = "".join("%s  %s\n" % (sha256(module[path]), path) for path in sorted(module))
sum = base64.b64encode(hashlib.sha256(listed.encode()).digest()).decode()
archive = io.BytesIO()
with zipfile.ZipFile(archive, "w") as out:
    for path, content in module.items():
        out.writestr(path, content + DAMAGE)
proxy = "/go/golang.org/toolchain/@v"
versions = ["go1.23.9", "go1.23.10", "go1.24rc1", "go1.24.0"]
files[proxy + "/list"] = "".join("v0.0.1-%s.linux-amd64\nv0.0.1-%s.linux-arm64\n" % (one, one) for one in versions).encode()
files["%s/%s.zip" % (proxy, name)] = archive.getvalue()
files["/go/sumdb/sum.golang.org/lookup/golang.org/toolchain@" + name] = ("1\ngolang.org/toolchain %s h1:%s\n" % (name, sum)).encode()


class Mirror(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        content = files.get(self.path.split("?")[0])
        self.send_response(404 if content is None else 200)
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Mirror)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.exit(subprocess.call(sys.argv[1:]))
