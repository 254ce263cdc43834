//! The paths of all files in the home.
//!
//! Paths are joined only from parsed IDs. Nothing here touches the disk.

use std::path::{Path, PathBuf};

use model::ids::{EnvironmentId, ShellId, TaskId};
use model::setup::SnapshotKey;
use model::task::LayerGeneration;

/// The name of the folder with the first layers of a task.
pub(crate) const UPPER: &str = "upper";

/// The paths of a home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    home: PathBuf,
    tasks: PathBuf,
}

impl Layout {
    /// Creates the layout of a home at an absolute path.
    pub fn new(home: impl Into<PathBuf>) -> Self {
        let home = home.into();
        Self { tasks: home.join("tasks"), home }
    }

    /// Returns the same layout with the shells of a repository in place of the tasks. A shell has the same files as a task.
    pub fn of_shells(&self, id: EnvironmentId) -> Self {
        Self { home: self.home.clone(), tasks: self.shells(id) }
    }

    /// Returns the home itself.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Returns the folder of all repositories.
    pub fn environments(&self) -> PathBuf {
        self.home.join("envs")
    }

    /// Returns the folder of a repository.
    pub fn environment(&self, id: EnvironmentId) -> PathBuf {
        self.environments().join(id.to_string())
    }

    /// Returns the bare mirror of a repository.
    pub fn mirror(&self, id: EnvironmentId) -> PathBuf {
        self.environment(id).join("mirror")
    }

    /// Returns the folder of all tasks.
    pub fn tasks(&self) -> PathBuf {
        self.tasks.clone()
    }

    /// Returns the folder of a task.
    pub fn task(&self, id: TaskId) -> PathBuf {
        self.tasks.join(id.to_string())
    }

    /// Returns the record of a task.
    pub fn meta(&self, id: TaskId) -> PathBuf {
        self.task(id).join("meta.json")
    }

    /// Returns the worktree of a task.
    pub fn worktree(&self, id: TaskId) -> PathBuf {
        self.task(id).join("worktree")
    }

    /// Returns the folder with a task's logs, and other files of its runs.
    pub fn logs(&self, id: TaskId) -> PathBuf {
        self.task(id).join("logs")
    }

    /// Returns the folder with the times at which the lines of a task's logs were written.
    pub fn times(&self, id: TaskId) -> PathBuf {
        self.task(id).join("times")
    }

    /// Returns the file with the commit up to which a task's changes were reviewed.
    pub fn reviewed(&self, id: TaskId) -> PathBuf {
        self.task(id).join("reviewed.json")
    }

    /// Returns the agent repository of a task. The real worktree does not refer to it.
    pub fn twin(&self, id: TaskId) -> PathBuf {
        self.task(id).join("agent.git")
    }

    /// Returns the folder with a task's Codex sessions in containers.
    pub fn sessions(&self, id: TaskId) -> PathBuf {
        self.task(id).join("sessions")
    }

    /// Returns codex-docker's own folder, with the files of each existing container of this home.
    pub fn containers(&self) -> PathBuf {
        self.home.join("containers")
    }

    /// Returns the folder with files that are mounted over those of a task's worktree and Codex home. No agent can write there.
    pub fn overlays(&self, id: TaskId) -> PathBuf {
        self.task(id).join("overlays")
    }

    /// Returns the folder with the images of a task's prompts. No agent can write there.
    pub fn images(&self, id: TaskId) -> PathBuf {
        self.task(id).join("images")
    }

    /// Returns the folder with the files of other repositories that a task can read.
    pub fn context(&self, id: TaskId) -> PathBuf {
        self.task(id).join("context")
    }

    /// Returns the folder with the export of an agent repository. It is not mounted into the containers of runs.
    pub fn harvest(&self, id: TaskId) -> PathBuf {
        self.task(id).join("harvest")
    }

    /// Returns the orchestrator's own Codex home.
    pub fn codex(&self) -> PathBuf {
        self.home.join("codex")
    }

    /// Returns the login of Codex. It is not mounted into any container.
    pub fn login(&self) -> PathBuf {
        self.home.join("login.json")
    }

    /// Returns the lock that is held while the login is replaced.
    pub fn login_lock(&self) -> PathBuf {
        self.home.join("login.lock")
    }

    /// Returns the record of the last login copy that was put aside.
    pub fn refused_login(&self) -> PathBuf {
        self.home.join("login-refused.json")
    }

    /// Returns the folder where older versions kept the login and that all containers shared.
    pub fn shared_login(&self) -> PathBuf {
        self.codex().join("auth")
    }

    /// Returns the folder with the login copy for a task's container.
    pub fn task_login(&self, id: TaskId) -> PathBuf {
        self.task(id).join("auth")
    }

    /// Returns the file with a repository's secret variables.
    pub fn secrets(&self, id: EnvironmentId) -> PathBuf {
        self.environment(id).join("secrets.json")
    }

    /// Returns the folder with the snapshots of a repository's environment.
    pub fn snapshots(&self, id: EnvironmentId) -> PathBuf {
        self.environment(id).join("snapshots")
    }

    /// Returns the folder of a snapshot.
    pub fn snapshot(&self, id: EnvironmentId, key: &SnapshotKey) -> PathBuf {
        self.snapshots(id).join(key.as_str())
    }

    /// Returns the folder in which a repository's next snapshot is created.
    pub fn new_snapshot(&self, id: EnvironmentId) -> PathBuf {
        self.snapshots(id).join("new")
    }

    /// Returns the worktree in which a repository's setup runs.
    pub fn setup_worktree(&self, id: EnvironmentId) -> PathBuf {
        self.new_snapshot(id).join("checkout")
    }

    /// Returns the output of a repository's setup with this number.
    pub fn setup_log(&self, id: EnvironmentId, number: u32) -> PathBuf {
        self.snapshots(id).join(format!("setup-{number:03}.log"))
    }

    /// Returns the folder with the shells that people opened in a repository's environment.
    pub fn shells(&self, id: EnvironmentId) -> PathBuf {
        self.environment(id).join("shells")
    }

    /// Returns the folder of a shell.
    pub fn shell(&self, id: EnvironmentId, shell: ShellId) -> PathBuf {
        self.shells(id).join(shell.to_string())
    }

    /// Returns the folder with what the runs of a task changed in folders of its snapshot.
    pub fn upper(&self, id: TaskId, generation: LayerGeneration) -> PathBuf {
        self.task(id).join(generation.name(UPPER))
    }

    /// Returns the folder with the prepared worktrees of all repositories.
    pub fn all_prepared(&self) -> PathBuf {
        self.home.join("prepared")
    }

    /// Returns the folder with a repository's worktrees that no task has taken yet.
    pub fn prepared(&self, id: EnvironmentId) -> PathBuf {
        self.all_prepared().join(id.to_string())
    }

    /// Returns the folder of removed items.
    pub fn trash(&self) -> PathBuf {
        self.home.join("trash")
    }

    /// Returns the socket of the API.
    pub fn socket(&self) -> PathBuf {
        self.home.join("orchestrator.sock")
    }

    /// Returns the token of the API over TCP.
    pub fn token(&self) -> PathBuf {
        self.home.join("token")
    }

    /// Returns the host name of the pages on this machine.
    pub fn pages_host(&self) -> PathBuf {
        self.home.join("pages-host")
    }

    /// Returns the file with the signed-in browsers.
    pub fn page_sessions(&self) -> PathBuf {
        self.home.join("sessions.json")
    }

    /// Returns the hash of the password for the pages.
    pub fn password(&self) -> PathBuf {
        self.home.join("password")
    }

    /// Returns the settings of the notifications page.
    pub fn notices(&self) -> PathBuf {
        self.home.join("notices.json")
    }

    /// Returns the list of container images that this home built.
    pub fn built_images(&self) -> PathBuf {
        self.home.join("built-images.json")
    }

    /// Returns the file with the browsers that receive push messages, and with this server's key for them.
    pub fn devices(&self) -> PathBuf {
        self.home.join("devices.json")
    }

    /// Returns the notifications that wait for quiet hours to end.
    pub fn held_notices(&self) -> PathBuf {
        self.home.join("held-notices.json")
    }

    /// Returns the file that records whether the machine was stopped cleanly.
    pub fn boot(&self) -> PathBuf {
        self.home.join("boot.json")
    }

    /// Returns the lock file, which lets only one server use the home. It names its holder.
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
        let (of_shells, shell) = (layout.of_shells(environment), id.parse().expect("an id"));
        assert_eq!(of_shells.task(task), layout.shell(environment, shell), "a shell has the files of a task");
        assert_eq!(of_shells.mirror(environment), layout.mirror(environment));
    }
}
