//! The labels of containers, for people and for filters. Pure.
//!
//! Labels prove nothing, because an image can set any label. [`crate::ledger`] decides which containers are ours.
//! Invariant: a caller's label never has the name of one of our labels.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// The label of every container that codex-docker creates.
pub(crate) const MANAGED: &str = "codex-docker.managed";

/// The label with the folder of the run.
pub(crate) const STATE: &str = "codex-docker.state";

/// The label with the state folder of a volume. Images cannot set it.
const ROOT: &str = "codex-docker.root";

/// The prefix of the caller's labels.
const PREFIX: &str = "codex-docker.label.";

/// Returns the labels for a new container: ours, and the caller's with a prefix.
pub(crate) fn of_container(state: &str, callers: &BTreeMap<String, String>) -> HashMap<String, String> {
    let ours = [(MANAGED.to_owned(), "true".to_owned()), (STATE.to_owned(), state.to_owned())];
    ours.into_iter().chain(callers.iter().map(|(key, value)| (format!("{PREFIX}{key}"), value.clone()))).collect()
}

/// Returns the labels of a volume of a run, whose files are in this folder.
pub(crate) fn of_volume(run: &Path) -> HashMap<String, String> {
    let root = run.parent().unwrap_or(run).to_string_lossy().into_owned();
    HashMap::from([(MANAGED.to_owned(), "true".to_owned()), (ROOT.to_owned(), root)])
}

/// Returns the engine filter for volumes of a state folder that no container uses.
pub(crate) fn unused_volumes(root: &Path) -> HashMap<String, Vec<String>> {
    let wanted = vec![format!("{MANAGED}=true"), format!("{ROOT}={}", root.display())];
    HashMap::from([("label".to_owned(), wanted), ("dangling".to_owned(), vec!["true".to_owned()])])
}

/// Returns the engine filter for our containers that have all of these labels.
pub(crate) fn filter(callers: &BTreeMap<String, String>) -> HashMap<String, Vec<String>> {
    let wanted = callers.iter().map(|(key, value)| format!("{PREFIX}{key}={value}"));
    HashMap::from([("label".to_owned(), wanted.chain([format!("{MANAGED}=true")]).collect())])
}

/// Returns the caller's labels of a container, without the prefix.
pub(crate) fn callers(all: &HashMap<String, String>) -> BTreeMap<String, String> {
    all.iter().filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?.to_owned(), value.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_labels_come_back_as_they_were_and_cannot_be_ours() {
        let given = BTreeMap::from([("home".to_owned(), "/h".to_owned()), ("managed".to_owned(), "x".to_owned())]);
        let all = of_container("/state", &given);
        assert_eq!((all[MANAGED].as_str(), all[STATE].as_str()), ("true", "/state"));
        assert_eq!(callers(&all), given);
        let wanted = &filter(&BTreeMap::from([("home".to_owned(), "/h".to_owned())]))["label"];
        assert_eq!(wanted, &["codex-docker.label.home=/h", "codex-docker.managed=true"]);
    }

    #[test]
    fn a_volume_is_found_by_its_state_folder() {
        let all = of_volume(Path::new("/state/run"));
        let filter = unused_volumes(Path::new("/state"));
        assert!(
            filter["label"].iter().all(|label| all.iter().any(|(key, value)| *label == format!("{key}={value}"))),
            "{filter:?}"
        );
        assert_eq!(filter["dangling"], ["true"]);
    }
}
