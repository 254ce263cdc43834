//! The note that tells an agent about its container: what is installed, what lasts, what it can reach, and what it need not do.
//!
//! Pure. Codex passes it to the model as developer instructions. Only runs of the orchestrator have one. Invariant: every sentence is
//! true for the settings of the run.

use std::path::Path;

use model::artifact::ARTIFACTS_INSIDE;
use model::container::CONTEXT_INSIDE;

use crate::settings::{ContainerUser, Network, Settings};

/// Which files of the repository the working directory contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checkout {
    /// All of them.
    Whole,
    /// Only those of some folders.
    Sparse,
}

impl Checkout {
    /// Returns what an agent repository is set to.
    pub(crate) fn of(twin: &Path) -> Self {
        if twin.join("info/sparse-checkout").is_file() { Self::Sparse } else { Self::Whole }
    }
}

/// Returns the note for a run, or `None` if its files are not a worktree of the orchestrator. `kept_as` is the image that the next run
/// of the task starts from, if the container is kept.
pub(crate) fn note(settings: &Settings, kept_as: Option<&str>, checkout: Checkout) -> Option<String> {
    settings.twin.as_ref()?;
    let user = match settings.user {
        ContainerUser::Root => "You are root and can install packages.",
        ContainerUser::Caller => "You are not root. You can only write to the working directory, your home directory and /tmp.",
    };
    let lasting = match (settings.user, kept_as) {
        (ContainerUser::Root, Some(_)) => {
            "Everything that you create or install, in any folder except /tmp and /run, is kept for the next run of this task."
        }
        (ContainerUser::Root, None) | (ContainerUser::Caller, _) => {
            "Only the working directory is kept for the next run of this task. Everything else is deleted when this run ends."
        }
    };
    let network = match settings.network {
        Network::Open => None,
        Network::None => Some("There is no network access. Work with what is installed."),
        Network::Allow(_) => {
            Some("Only allowed hosts can be reached, through the proxy in HTTPS_PROXY. Other hosts are refused.")
        }
    };
    let services: Vec<_> = settings.services.iter().map(|service| described(&service.name, &service.ports)).collect();
    let services = (!services.is_empty()).then(|| {
        format!(
            "These services run next to your container while you work: {}. Reach each of them at localhost or under its name. Each run \
             of this task starts with new services, so their data is not kept.",
            services.join(", ")
        )
    });
    let targets = settings.mounts.iter().map(|mount| mount.target.as_str());
    let context: Vec<_> = targets.filter(|target| Path::new(target).parent() == Some(Path::new(CONTEXT_INSIDE))).collect();
    let context = (!context.is_empty()).then(|| format!("You can read the files of other repositories: {}.", context.join(", ")));
    let files: Vec<_> = settings.files.iter().map(|file| file.target.as_str()).collect();
    let files = (!files.is_empty()).then(|| {
        format!("These files contain secrets, are read-only, and must not be copied or committed: {}.", files.join(", "))
    });
    let artifacts = settings.mounts.iter().any(|mount| mount.target == ARTIFACTS_INSIDE && !mount.read_only);
    let artifacts = artifacts.then_some(
        "Save results for the user that do not belong in the repository, such as screenshots and reports, in /artifacts.",
    );
    let sparse = (checkout == Checkout::Sparse).then_some(
        "The working directory contains only some folders of the repository. `git sparse-checkout list` shows them, and `git \
         sparse-checkout add FOLDER` adds one. To delete a file outside of them, use `git rm --sparse` and commit.",
    );
    let always = [
        "You work in a container that belongs to this task.",
        user,
        "If /etc/codex-docker/installed exists, it lists the main tools of the image.",
        lasting,
        "Changes in the working directory are committed when the run ends. Do not push: the remote repository cannot be reached with git, \
         and the user publishes the branch.",
    ];
    let lines = always
        .into_iter()
        .chain(sparse)
        .chain(services.as_deref())
        .chain(network)
        .chain(context.as_deref())
        .chain(files.as_deref())
        .chain(artifacts)
        .map(|line| format!("- {line}\n"));
    Some(format!("About your environment:\n{}", lines.collect::<String>()))
}

/// Names a service, with its ports.
fn described(name: &str, ports: &[u16]) -> String {
    let numbers: Vec<_> = ports.iter().map(u16::to_string).collect();
    match numbers.len() {
        0 => name.to_owned(),
        1 => format!("{name} (port {})", numbers[0]),
        _ => format!("{name} (ports {})", numbers.join(" and ")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use super::*;
    use crate::settings::Caller;

    fn settings(variables: &[(&str, &str)]) -> Settings {
        let always = [("CODEX_DOCKER_STATE", "/state"), ("HOME", "/home/me")];
        let variables: BTreeMap<String, String> =
            always.iter().chain(variables).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Settings::read(&variables, Caller { folder: PathBuf::from("/folder"), uid: 1000, gid: 1000 }).expect("valid settings")
    }

    const TWIN: (&str, &str) = ("CODEX_DOCKER_GIT_DIR", "/tasks/1/agent.git");

    #[test]
    fn the_note_says_what_is_true_for_the_run() {
        let open = note(&settings(&[TWIN]), Some("kept:1"), Checkout::Whole).expect("a note");
        let closed = [TWIN, ("CODEX_DOCKER_USER", "caller"), ("CODEX_DOCKER_NETWORK", "none")];
        let closed = note(&settings(&closed), Some("kept:1"), Checkout::Whole).expect("a note");
        let listed = [TWIN, ("CODEX_DOCKER_NETWORK", "allow"), ("CODEX_DOCKER_ALLOW_HOSTS", "example.com")];
        let listed = [listed.as_slice(), &[("CODEX_MOUNT_MAPS", "/tasks/1/artifacts=/artifacts")]].concat();
        let listed = note(&settings(&listed), None, Checkout::Whole).expect("a note");
        let services = r#"[{"name": "cache", "image": "x"}, {"name": "db", "image": "x", "ports": [5432]},
            {"name": "mail", "image": "x", "ports": [1025, 8025]}]"#;
        let served = note(&settings(&[TWIN, ("CODEX_DOCKER_SERVICES", services)]), None, Checkout::Whole).expect("a note");
        let files = r#"[{"target": "~/.npmrc", "variable": "CODEX_DOCKER_FILE_0"}]"#;
        let context = ("CODEX_MOUNT_MAPS_RO", "/tasks/1/context/a/files=/context/a:/tasks/1/context/b/files=/context/b");
        let placed = [TWIN, ("CODEX_DOCKER_FILES", files), ("CODEX_DOCKER_FILE_0", "x"), context];
        let placed = note(&settings(&placed), None, Checkout::Sparse).expect("a note");
        insta::assert_snapshot!([open, closed, listed, served, placed].join("\n"));
    }

    #[test]
    fn a_container_of_somebody_elses_folder_has_no_note() {
        assert_eq!(note(&settings(&[]), None, Checkout::Whole), None);
    }
}
