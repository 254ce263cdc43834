//! The labels of our containers, for people and for filters. Pure.
//!
//! They prove nothing, since any image can carry them: which containers are ours is for [`crate::ledger`] to say.
//! Invariant: a label of a caller can never be taken for one of ours.

use std::collections::{BTreeMap, HashMap};

/// Marks every container of ours.
pub(crate) const MANAGED: &str = "codex-docker.managed";

/// The folder with the files of a container's run.
pub(crate) const STATE: &str = "codex-docker.state";

/// What a caller's own labels are put behind.
const PREFIX: &str = "codex-docker.label.";

/// The labels of a container: ours, and the caller's behind a prefix.
pub(crate) fn of_container(state: &str, callers: &BTreeMap<String, String>) -> HashMap<String, String> {
    let ours = [(MANAGED.to_owned(), "true".to_owned()), (STATE.to_owned(), state.to_owned())];
    ours.into_iter().chain(callers.iter().map(|(key, value)| (format!("{PREFIX}{key}"), value.clone()))).collect()
}

/// The engine's filter for our containers with all these labels.
pub(crate) fn filter(callers: &BTreeMap<String, String>) -> HashMap<String, Vec<String>> {
    let wanted = callers.iter().map(|(key, value)| format!("{PREFIX}{key}={value}"));
    HashMap::from([("label".to_owned(), wanted.chain([format!("{MANAGED}=true")]).collect())])
}

/// The caller's labels among a container's.
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
}
