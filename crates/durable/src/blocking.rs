//! Runs blocking work, such as everything in this crate, from async code.
//!
//! A panic of the work continues in the caller.

/// Runs blocking work on a thread where it blocks nothing else.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that is being dropped cancels blocking work, and then this future is no longer polled.
            Err(_) => std::future::pending().await,
        },
    }
}
