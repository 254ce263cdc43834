//! What every handler of a request has access to.

use std::sync::LazyLock;

use engine::Engine;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The state of all handlers.
#[derive(Clone)]
pub(crate) struct Api {
    /// The engine.
    pub(crate) engine: Engine,
    /// Cancelled when the server closes, which ends event streams.
    pub(crate) closing: CancellationToken,
    /// Requests that continue without their clients.
    pub(crate) work: TaskTracker,
    /// The `OpenAPI` document as JSON, which is rendered when it is first needed.
    pub(crate) openapi: &'static LazyLock<String>,
}

#[cfg(test)]
impl Api {
    /// Returns the state of handlers that use this engine.
    pub(crate) fn for_tests(engine: Engine) -> Self {
        static NO_DOCUMENT: LazyLock<String> = LazyLock::new(String::new);
        let (closing, work) = (CancellationToken::new(), TaskTracker::new());
        Self { engine, closing, work, openapi: &NO_DOCUMENT }
    }
}
