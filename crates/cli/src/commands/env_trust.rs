//! `env setup diff` and `env setup accept-branch`: how a branch changes the description of the environment, and what the owner decides
//! about it.
//!
//! The description that is accepted is the one that is printed.

use client::Client;
use model::ErrorCode;
use model::problem::Problem;
use protocol::{AcceptDescription, SetupDiffQuery, SetupDiffView, SetupView};

use crate::output::OutputFormat;
use crate::{ids, printer};

/// What the owner decides about the description of a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// It applies to the tasks of the branch.
    Accept,
    /// It no longer does.
    TakeBack,
}

/// Prints how a branch changes the description.
pub(super) async fn diff(client: &Client, env: &str, branch: &str, format: OutputFormat) -> Result<(), Problem> {
    let id = ids::environment(client, env).await?;
    let query = SetupDiffQuery { branch: branch.to_owned() };
    let found = client.show_setup_diff(id, &query).await?;
    if format.is_json() {
        return printer::json(&found);
    }
    printer::diff(&found.diff);
    effect(&found, env).iter().for_each(printer::styled);
    Ok(())
}

/// Accepts the description of a branch, after printing its changes.
pub(super) async fn accept(
    client: &Client,
    env: &str,
    branch: &str,
    choice: Choice,
    format: OutputFormat,
) -> Result<SetupView, Problem> {
    let id = ids::environment(client, env).await?;
    let hash = match choice {
        Choice::TakeBack => None,
        Choice::Accept => {
            let query = SetupDiffQuery { branch: branch.to_owned() };
            let found = client.show_setup_diff(id, &query).await?;
            if !format.is_json() {
                printer::diff(&found.diff);
            }
            let hash = found.hash.ok_or_else(|| {
                let message = format!("`{}` has no valid description", found.branch);
                Problem::new(ErrorCode::NoSetup, message).hint("the file is .codex-orchestrator/environment.toml")
            })?;
            Some(hash.to_string())
        }
    };
    client.accept_description(id, &AcceptDescription { branch: branch.to_owned(), hash }).await
}

/// Returns what effect the description of a branch has.
fn effect(found: &SetupDiffView, env: &str) -> Vec<String> {
    let branch = &found.branch;
    if found.replaced {
        return vec![format!("No effect: the settings of this server contain a description for `{env}`.")];
    }
    if found.trusted || found.accepted {
        return vec![format!("The description on `{branch}` applies to the tasks of this branch.")];
    }
    if found.diff.files.is_empty() {
        return vec![format!("`{branch}` does not change the description.")];
    }
    let mut lines = vec![format!("No effect until `{branch}` is merged, or you accept this description for its tasks.")];
    lines.extend(found.hash.iter().map(|_| format!("hint: codex-orchestrator env setup accept-branch {env} {branch}")));
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn view(changes: &Value) -> SetupDiffView {
        let mut view = json!({
            "branch": "idea", "commit": "a".repeat(40), "hash": "b".repeat(64), "trusted": false, "accepted": false, "replaced": false,
            "diff": { "files": [], "stats": { "files": 0, "additions": 0, "deletions": 0 } },
        });
        for (name, value) in changes.as_object().expect("an object") {
            view[name] = value.clone();
        }
        serde_json::from_value(view).expect("a diff")
    }

    #[test]
    fn the_effect_of_a_description_is_named() {
        let file = json!({
            "old_path": "x", "new_path": "x", "status": "modified", "old_mode": null, "new_mode": null, "binary": false,
            "additions": 1, "deletions": 0, "hunks": [],
        });
        let diff = json!({ "files": [file], "stats": { "files": 1, "additions": 1, "deletions": 0 } });
        let check = |changes: Value, expect: &str, hints: usize| {
            let lines = effect(&view(&changes), "app");
            assert!(lines[0].contains(expect) && lines.len() == 1 + hints, "{changes}: {lines:?}");
        };
        check(json!({}), "does not change", 0);
        check(json!({ "diff": diff }), "No effect until", 1);
        check(json!({ "diff": diff, "hash": null }), "No effect until", 0);
        check(json!({ "diff": diff, "accepted": true }), "applies to the tasks", 0);
        check(json!({ "diff": diff, "trusted": true }), "applies to the tasks", 0);
        check(json!({ "diff": diff, "trusted": true, "replaced": true }), "settings of this server", 0);
    }
}
