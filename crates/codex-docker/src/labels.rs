//! The labels of containers, for people and for filters. Pure.
//!
//! Labels prove nothing, because an image can set any label. [`crate::ledger`] decides which containers are ours.
//! Invariant: a caller's label never has the name of one of our labels.

use std::collections::{BTreeMap, HashMap};

/// The label of every container that codex-docker creates.
pub(crate) const MANAGED: &str = "codex-docker.managed";

/// The label with the folder of the run.
pub(crate) const STATE: &str = "codex-docker.state";

/// The prefix of the caller's labels.
const PREFIX: &str = "codex-docker.label.";

/// Returns the labels for a new container: ours, and the caller's with a prefix.
pub(crate) fn of_container(state: &str, callers: &BTreeMap<String, String>) -> HashMap<String, String> {
    let ours = [(MANAGED.to_owned(), "true".to_owned()), (STATE.to_owned(), state.to_owned())];
    ours.into_iter().chain(callers.iter().map(|(key, value)| (format!("{PREFIX}{key}"), value.clone()))).collect()
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
}
