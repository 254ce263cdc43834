//! The facade's part about branches: taking a task's commits home, and keeping its branch current.
//! Texts are parsed here as in the rest of the facade; what is done is in `task`.

use std::io;

use bytes::Bytes;
use futures_util::Stream;
use model::problem::Problem;

use super::Engine;

impl Engine {
    /// The task's branch with its own commits, as a git bundle.
    pub async fn bundle(&self, id: &str) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>, Problem> {
        self.inner.bundle(self.task_slot(id)?.as_ref()).await
    }

    /// The task's own commits as mails that `git am` takes.
    pub async fn patches(&self, id: &str) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>, Problem> {
        self.inner.mails(self.task_slot(id)?.as_ref()).await
    }
}
