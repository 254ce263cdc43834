//! Parses user input for a repository: variables, secrets and the Git host. Nothing is written here, and no error contains a
//! secret.

use std::collections::BTreeMap;

use super::record::EnvironmentRecord;
use crate::ErrorCode;
use crate::forge::EditForge;
use crate::names::VariableName;
use crate::problem::Problem;
use crate::secret::{Secret, VARIABLE_LIMIT_BYTES};

/// The maximum number of variables. This many easily fit into a process's environment.
const MAX_VARIABLES: usize = 200;

/// The maximum number of former secrets that are still masked.
const MAX_FORMER: usize = 100;

fn refused(detail: String) -> Problem {
    Problem::new(ErrorCode::VariableRefused, detail)
}

/// Parses the environment variables for Codex.
pub fn parse_variables(variables: BTreeMap<String, String>) -> Result<BTreeMap<VariableName, String>, Problem> {
    let parse = |(name, value): (String, String)| {
        let name = VariableName::parse(&name)?;
        if value.len() > VARIABLE_LIMIT_BYTES || value.contains('\0') {
            return Err(refused(format!(
                "the value of `{name}` contains a NUL character or is longer than {VARIABLE_LIMIT_BYTES} bytes"
            )));
        }
        Ok((name, value))
    };
    variables.into_iter().map(parse).collect()
}

/// Sets the given secrets, and removes those that are null. Replaced and removed secrets are still masked, because old
/// transcripts may contain them.
pub fn change_secrets(record: &mut EnvironmentRecord, changes: BTreeMap<String, Option<Secret>>) -> Result<(), Problem> {
    for (name, value) in changes {
        let name = VariableName::parse(&name)?;
        let former = match value {
            Some(value) => record.secrets.insert(name.clone(), value.checked(&name)?),
            None => record.secrets.remove(&name),
        };
        if let Some(former) = former.filter(|former| !record.former_secrets.contains(former)) {
            record.former_secrets.push(former);
        }
    }
    let surplus = record.former_secrets.len().saturating_sub(MAX_FORMER);
    record.former_secrets.drain(..surplus);
    Ok(())
}

/// Changes how the Git host is reached. A replaced or removed token is still masked.
pub fn change_forge(record: &mut EnvironmentRecord, edit: EditForge) -> Result<(), Problem> {
    record.forge = std::mem::take(&mut record.forge).edited(&edit)?;
    let Some(token) = edit.token else { return Ok(()) };
    let name = VariableName::parse("forge_token")?;
    let former = std::mem::replace(&mut record.forge_token, token.map(|token| token.checked(&name)).transpose()?);
    record.former_secrets.extend(former);
    Ok(())
}

/// Checks that there are not too many variables and secrets, and that no name is used for both.
pub fn check_variables(record: &EnvironmentRecord) -> Result<(), Problem> {
    let count = record.variables.len() + record.secrets.len();
    if count > MAX_VARIABLES {
        return Err(refused(format!("{count} variables are too many; the limit is {MAX_VARIABLES}")));
    }
    match record.variables.keys().find(|name| record.secrets.contains_key(name)) {
        Some(name) => Err(refused(format!("`{name}` is both a variable and a secret")).hint("use only one of them")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::EnvironmentStatus;
    use crate::container::ContainerSettings;
    use crate::ids::EnvironmentId;
    use crate::names::{RepositoryUrl, Title};

    use super::*;

    fn record() -> EnvironmentRecord {
        EnvironmentRecord {
            env_id: EnvironmentId::from_uuid(uuid::Uuid::from_u128(1)),
            name: Title::parse("repo").expect("a name"),
            repo_url: RepositoryUrl::parse("/srv/repo").expect("a URL"),
            default_branch: None,
            status: EnvironmentStatus::Ready,
            error: None,
            variables: BTreeMap::new(),
            secrets: BTreeMap::new(),
            former_secrets: vec![],
            container: ContainerSettings::default(),
            runs: crate::policy::RunPolicy::default(),
            forge: crate::forge::ForgeSettings::default(),
            commits: crate::commit::CommitSettings::default(),
            sources: crate::sources::SourceSettings::default(),
            setup: crate::setup::SetupSettings::default(),
            setup_state: crate::setup::SetupState::default(),
            forge_token: None,
            created_at: jiff::Timestamp::UNIX_EPOCH,
            updated_at: jiff::Timestamp::UNIX_EPOCH,
            extra: serde_json::Map::new(),
        }
    }

    fn change(record: &mut EnvironmentRecord, name: &str, value: Option<&str>) -> Result<(), Problem> {
        change_secrets(record, BTreeMap::from([(name.to_owned(), value.map(Secret::new))]))
    }

    #[test]
    fn a_secret_is_set_replaced_and_forgotten_and_stays_masked() {
        let mut record = record();
        for value in [Some("first-value"), Some("second-value"), None] {
            change(&mut record, "TOKEN", value).expect("sound");
        }
        change(&mut record, "OTHER", Some("third-value")).expect("sound");
        assert_eq!(record.secrets.keys().map(VariableName::as_str).collect::<Vec<_>>(), ["OTHER"]);
        assert_eq!(record.secret_values().collect::<Vec<_>>(), ["third-value", "first-value", "second-value"]);
        for n in 0..300 {
            change(&mut record, "OTHER", Some(&format!("value-{n}"))).expect("sound");
        }
        assert_eq!(record.former_secrets.len(), MAX_FORMER, "only the newest former secrets are kept");
    }

    #[test]
    fn a_name_is_a_variable_or_a_secret() {
        let mut record = record();
        record.variables = parse_variables(BTreeMap::from([("TOKEN".to_owned(), "x".to_owned())])).expect("sound");
        check_variables(&record).expect("sound");
        change(&mut record, "TOKEN", Some("hunter2")).expect("the secret is valid on its own");
        let problem = check_variables(&record).expect_err("both");
        assert!(problem.report.message.contains("`TOKEN`") && !problem.report.message.contains("hunter2"), "{problem:?}");
        assert!(change(&mut record, "NOT A NAME", Some("hunter2")).is_err() && change(&mut record, "SHORT", Some("x")).is_err());
    }

    #[test]
    fn there_is_a_limit_to_variables() {
        let many = (0..=MAX_VARIABLES).map(|n| (format!("V{n}"), String::new())).collect();
        let mut record = record();
        record.variables = parse_variables(many).expect("each variable is valid");
        assert_eq!(check_variables(&record).expect_err("too many").report.code, ErrorCode::VariableRefused);
        let long = BTreeMap::from([("LONG".to_owned(), "x".repeat(VARIABLE_LIMIT_BYTES + 1))]);
        assert!(parse_variables(long).is_err());
    }
}
