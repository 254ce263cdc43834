//! Where everything lies below the home, exactly as the strategy says.
//!
//! Paths are joined from parsed ids only. Nothing in here touches the disk.

use std::path::{Path, PathBuf};

use model::ids::{EnvironmentId, TaskId};

/// The home's paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    home: PathBuf,
}

impl Layout {
    /// The layout below an absolute path.
    pub fn new(home: impl Into<PathBuf>) -> Self {
        Self { home: home.into() }
    }

    /// The home itself.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Where all environments lie.
    pub fn environments(&self) -> PathBuf {
        self.home.join("envs")
    }

    /// One environment's folder.
    pub fn environment(&self, id: EnvironmentId) -> PathBuf {
        self.environments().join(id.to_string())
    }

    /// One environment's bare mirror.
    pub fn mirror(&self, id: EnvironmentId) -> PathBuf {
        self.environment(id).join("mirror")
    }

    /// Where all tasks lie.
    pub fn tasks(&self) -> PathBuf {
        self.home.join("tasks")
    }

    /// One task's folder.
    pub fn task(&self, id: TaskId) -> PathBuf {
        self.tasks().join(id.to_string())
    }

    /// One task's record.
    pub fn meta(&self, id: TaskId) -> PathBuf {
        self.task(id).join("meta.json")
    }

    /// Where one task's agent works.
    pub fn worktree(&self, id: TaskId) -> PathBuf {
        self.task(id).join("worktree")
    }

    /// One task's journals, and what else its runs need on disk.
    pub fn logs(&self, id: TaskId) -> PathBuf {
        self.task(id).join("logs")
    }

    /// When the lines of one task's journals were written.
    pub fn times(&self, id: TaskId) -> PathBuf {
        self.task(id).join("times")
    }

    /// Up to which commit one task's changes were looked at.
    pub fn reviewed(&self, id: TaskId) -> PathBuf {
        self.task(id).join("reviewed.json")
    }

    /// One task's repository for an agent in a container, of which the worktree's real one knows nothing.
    pub fn twin(&self, id: TaskId) -> PathBuf {
        self.task(id).join("agent.git")
    }

    /// One task's sessions of Codex, where it runs in a container.
    pub fn sessions(&self, id: TaskId) -> PathBuf {
        self.task(id).join("sessions")
    }

    /// The folder of codex-docker's own: what each container of this home needs on disk while it exists.
    pub fn containers(&self) -> PathBuf {
        self.home.join("containers")
    }

    /// Files that are mounted over those of one task's worktree and Codex home. No agent can write here.
    pub fn overlays(&self, id: TaskId) -> PathBuf {
        self.task(id).join("overlays")
    }

    /// The images of one task's prompts. No agent can write here.
    pub fn images(&self, id: TaskId) -> PathBuf {
        self.task(id).join("images")
    }

    /// What was brought out of a container's repository. No container of a run sees it.
    pub fn harvest(&self, id: TaskId) -> PathBuf {
        self.task(id).join("harvest")
    }

    /// The orchestrator's own Codex home.
    pub fn codex(&self) -> PathBuf {
        self.home.join("codex")
    }

    /// The login of Codex. No container sees it.
    pub fn login(&self) -> PathBuf {
        self.home.join("login.json")
    }

    /// Held while the login is replaced.
    pub fn login_lock(&self) -> PathBuf {
        self.home.join("login.lock")
    }

    /// The last copy of the login that was put aside.
    pub fn refused_login(&self) -> PathBuf {
        self.home.join("login-refused.json")
    }

    /// Where older versions kept the login, in a folder that all containers shared.
    pub fn shared_login(&self) -> PathBuf {
        self.codex().join("auth")
    }

    /// The folder with the copy of the login that a container of one task works with.
    pub fn task_login(&self, id: TaskId) -> PathBuf {
        self.task(id).join("auth")
    }

    /// One environment's secret variables.
    pub fn secrets(&self, id: EnvironmentId) -> PathBuf {
        self.environment(id).join("secrets.json")
    }

    /// What was removed and is not gone yet.
    pub fn trash(&self) -> PathBuf {
        self.home.join("trash")
    }

    /// The socket of the API.
    pub fn socket(&self) -> PathBuf {
        self.home.join("orchestrator.sock")
    }

    /// The token of the API over TCP.
    pub fn token(&self) -> PathBuf {
        self.home.join("token")
    }

    /// The host name of the pages on this machine.
    pub fn pages_host(&self) -> PathBuf {
        self.home.join("pages-host")
    }

    /// Who is signed in to the pages.
    pub fn page_sessions(&self) -> PathBuf {
        self.home.join("sessions.json")
    }

    /// The hash of the password for the pages.
    pub fn password(&self) -> PathBuf {
        self.home.join("password")
    }

    /// What the page of notices set.
    pub fn notices(&self) -> PathBuf {
        self.home.join("notices.json")
    }

    /// The container images that this home built.
    pub fn built_images(&self) -> PathBuf {
        self.home.join("built-images.json")
    }

    /// Browsers that get pushes, and the key that they know us by.
    pub fn devices(&self) -> PathBuf {
        self.home.join("devices.json")
    }

    /// Notices that wait for quiet hours to end.
    pub fn held_notices(&self) -> PathBuf {
        self.home.join("held-notices.json")
    }

    /// Whether the machine was stopped in order.
    pub fn boot(&self) -> PathBuf {
        self.home.join("boot.json")
    }

    /// The lock that makes a server the only one of its home; it names its holder.
    pub fn lock(&self) -> PathBuf {
        self.home.join("lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_the_strategys() {
        let layout = Layout::new("/home/me/.codex-orchestrator");
        let id = "01a201f5-b7dd-79a1-8a6e-7e6639f5c650";
        let task = id.parse().expect("an id");
        let environment = id.parse().expect("an id");
        for (path, expected) in [
            (layout.mirror(environment), format!("envs/{id}/mirror")),
            (layout.meta(task), format!("tasks/{id}/meta.json")),
            (layout.worktree(task), format!("tasks/{id}/worktree")),
            (layout.logs(task), format!("tasks/{id}/logs")),
            (layout.twin(task), format!("tasks/{id}/agent.git")),
            (layout.sessions(task), format!("tasks/{id}/sessions")),
            (layout.images(task), format!("tasks/{id}/images")),
            (layout.secrets(environment), format!("envs/{id}/secrets.json")),
            (layout.login(), "login.json".to_owned()),
            (layout.task_login(task), format!("tasks/{id}/auth")),
            (layout.socket(), "orchestrator.sock".to_owned()),
        ] {
            assert_eq!(path, layout.home().join(expected));
        }
    }
}
