//! Tests of the client with a server that gives prepared answers on a Unix socket.
//!
//! The tests of the methods against `docs/openapi.json` are next to the methods.

mod answers;
mod connections;
mod streams;

use client::Client;
use model::ids::TaskId;
use tempfile::TempDir;
use testkit::fake_server::FakeServer;

const TASK: &str = "0192f3a0-1111-7000-8000-000000000001";

fn task() -> TaskId {
    TASK.parse().expect("an ID")
}

/// Starts a server without answers, and returns a client of it. The server's socket is in the folder.
async fn start() -> (TempDir, FakeServer, Client) {
    let folder = tempfile::tempdir().expect("a folder");
    let server = FakeServer::start(&folder.path().join("s")).await;
    let client = Client::at(server.socket()).await.expect("a client");
    (folder, server, client)
}
