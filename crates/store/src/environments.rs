//! Repositories on disk: `repo.url`, `default_branch`, `secrets.json` for values that must stay hidden, and `env.json` for the
//! rest.
//!
//! Invariant: `env.json` is written last, so a repository that has this file also has the others.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use durable::write_atomically;
use fs_err as fs;
use model::damaged::Damaged;
use model::environment::EnvironmentRecord;
use model::ids::EnvironmentId;
use model::names::{BranchName, RepositoryUrl, VariableName};
use model::secret::Secret;
use serde::{Deserialize, Serialize};

use super::environment_file::EnvironmentFile;
use super::tasks::schema_of;
use super::{Home, Records, StoreError, damaged};

impl Home {
    /// Writes a repository, and creates its folder if it is missing.
    pub fn write_environment(&self, environment: &EnvironmentRecord) -> Result<(), StoreError> {
        let folder = self.layout.environment(environment.env_id);
        durable::create_folder(&folder).map_err(|error| StoreError::new("make", &folder, error))?;
        write_line(&folder.join("repo.url"), environment.repo_url.as_str())?;
        if let Some(branch) = &environment.default_branch {
            write_line(&folder.join("default_branch"), branch.as_str())?;
        }
        write_secrets(&self.layout.secrets(environment.env_id), environment)?;
        let path = folder.join("env.json");
        let mut text = serde_json::to_vec_pretty(&EnvironmentFile::from(environment))
            .map_err(|error| StoreError::new("write", &path, error.into()))?;
        text.push(b'\n');
        write_atomically(&path, &text).map_err(|error| StoreError::new("write", &path, error))
    }

    /// Reads all repositories.
    pub fn read_environments(&self) -> Result<Records<EnvironmentRecord>, StoreError> {
        let folder = self.layout.environments();
        let failed = |error| StoreError::new("read", &folder, error);
        let mut found = Records { records: vec![], damaged: vec![] };
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            match read_environment(&path) {
                Ok(Some(environment)) => found.records.push(environment),
                Ok(None) => {}
                Err(damaged) => found.damaged.push(damaged),
            }
        }
        Ok(found)
    }
}

fn write_line(path: &Path, line: &str) -> Result<(), StoreError> {
    write_atomically(path, format!("{line}\n").as_bytes()).map_err(|error| StoreError::new("write", path, error))
}

/// `secrets.json`: values that are never returned, in a file that only the owner can read.
#[derive(Serialize, Deserialize)]
struct SecretsFile {
    schema: u32,
    secrets: BTreeMap<VariableName, Secret>,
    /// Values that were secrets before.
    #[serde(default)]
    former: Vec<Secret>,
    /// The token for the Git host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    forge_token: Option<Secret>,
}

fn write_secrets(path: &Path, environment: &EnvironmentRecord) -> Result<(), StoreError> {
    let failed = |error| StoreError::new("write", path, error);
    let (secrets, former) = (environment.secrets.clone(), environment.former_secrets.clone());
    let forge_token = environment.forge_token.clone();
    if secrets.is_empty() && former.is_empty() && forge_token.is_none() {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            // The folder is synced when `env.json` is written.
            Ok(()) | Err(_) => Ok(()),
        };
    }
    let text = serde_json::to_vec_pretty(&SecretsFile { schema: model::SCHEMA, secrets, former, forge_token });
    write_atomically(path, &text.map_err(|error| failed(error.into()))?).map_err(failed)
}

fn read_secrets(folder: &Path, environment: &mut EnvironmentRecord) -> Result<(), Damaged> {
    let path = folder.join("secrets.json");
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(damaged(folder, &path, error)),
    };
    // Drop the parser's message, because it could contain part of a value.
    let file: SecretsFile = serde_json::from_slice(&text).map_err(|_| damaged(folder, &path, "its format is invalid"))?;
    (environment.secrets, environment.former_secrets) = (file.secrets, file.former);
    environment.forge_token = file.forge_token;
    Ok(())
}

/// Reads the record in a repository's folder, which may be in the trash. A folder without a record is ignored, because its
/// creation was never acknowledged.
pub(super) fn read_environment(folder: &Path) -> Result<Option<EnvironmentRecord>, Damaged> {
    let path = folder.join("env.json");
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(damaged(folder, &path, error)),
    };
    if let Some(schema) = schema_of(&text).filter(|schema| *schema > u64::from(model::SCHEMA)) {
        let reason = format!("a newer version wrote it (schema {schema}; this version supports {})", model::SCHEMA);
        return Err(damaged(folder, &path, reason));
    }
    let file: EnvironmentFile = serde_json::from_slice(&text).map_err(|error| damaged(folder, &path, error))?;
    let named = folder.file_name().and_then(|name| name.to_str());
    // In the trash, the folder's name has a prefix.
    let named = named.and_then(|name| name.strip_prefix("env-").unwrap_or(name).parse::<EnvironmentId>().ok());
    if named != Some(file.env_id) {
        return Err(damaged(folder, &path, format!("it belongs to another repository, {}", file.env_id)));
    }
    let url_path = folder.join("repo.url");
    let url = fs::read_to_string(&url_path).map_err(|error| damaged(folder, &url_path, error))?;
    let url = RepositoryUrl::parse(&url).map_err(|problem| damaged(folder, &url_path, problem))?;
    let branch_path = folder.join("default_branch");
    let branch = match fs::read_to_string(&branch_path) {
        Ok(text) => Some(BranchName::parse(&text).map_err(|problem| damaged(folder, &branch_path, problem))?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(damaged(folder, &branch_path, error)),
    };
    let mut environment = file.with(url, branch);
    read_secrets(folder, &mut environment)?;
    Ok(Some(environment))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use model::container::ContainerSettings;
    use model::environment::EnvironmentStatus;
    use model::names::Title;

    use super::*;

    fn environment() -> EnvironmentRecord {
        EnvironmentRecord {
            env_id: EnvironmentId::from_uuid(uuid::Uuid::from_u128(1)),
            name: Title::parse("repo").expect("a name"),
            repo_url: RepositoryUrl::parse("/srv/repo").expect("a URL"),
            default_branch: Some(BranchName::parse("main").expect("a branch")),
            status: EnvironmentStatus::Ready,
            error: None,
            variables: BTreeMap::from([(VariableName::parse("A").expect("a name"), "b".to_owned())]),
            secrets: BTreeMap::from([(VariableName::parse("TOKEN").expect("a name"), Secret::new("hunter2"))]),
            former_secrets: vec![Secret::new("hunter1")],
            container: ContainerSettings { memory: Some("4g".to_owned()), ..ContainerSettings::default() },
            runs: model::policy::RunPolicy { retries: 2, ..Default::default() },
            forge: model::forge::ForgeSettings { kind: Some(model::forge::ForgeKind::GitLab), ..Default::default() },
            commits: model::commit::CommitSettings::default(),
            sources: model::sources::SourceSettings::default(),
            setup: model::setup::SetupSettings::default(),
            setup_state: model::setup::SetupState::default(),
            forge_token: Some(Secret::new("glpat-hunter")),
            created_at: jiff::Timestamp::UNIX_EPOCH,
            updated_at: jiff::Timestamp::UNIX_EPOCH,
            extra: serde_json::Map::from_iter([("colour".to_owned(), "green".into())]),
        }
    }

    #[test]
    fn an_environment_lies_on_disk_as_the_strategy_wants_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path()).expect("a home");
        home.write_environment(&environment()).expect("written");
        let at = home.layout.environment(environment().env_id);
        assert_eq!(fs::read_to_string(at.join("repo.url")).expect("there"), "/srv/repo\n");
        assert_eq!(fs::read_to_string(at.join("default_branch")).expect("there"), "main\n");
        assert_eq!(home.read_environments().expect("read").records, vec![environment()]);
    }

    #[test]
    fn a_damaged_environment_names_the_file_that_is_damaged() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path()).expect("a home");
        home.write_environment(&environment()).expect("written");
        let url = home.layout.environment(environment().env_id).join("repo.url");
        fs::write(&url, "ext::sh -c evil").expect("written");
        let found = home.read_environments().expect("read");
        assert!(found.records.is_empty());
        assert_eq!(found.damaged[0].path, url.display().to_string());
    }

    #[test]
    fn secrets_lie_in_a_file_of_their_own_until_there_are_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path()).expect("a home");
        home.write_environment(&environment()).expect("written");
        let path = home.layout.secrets(environment().env_id);
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let rest = fs::read_to_string(path.with_file_name("env.json")).expect("there");
        assert!(!rest.contains("hunter") && !rest.contains("TOKEN"), "{rest}");
        fs::write(&path, "{\"schema\":1,\"secrets\":{\"A\":hunter2}}").expect("written");
        let found = home.read_environments().expect("read");
        assert!(found.damaged[0].path.ends_with("secrets.json") && !found.damaged[0].reason.contains("hunter"), "{found:?}");
        let plain = EnvironmentRecord { secrets: BTreeMap::new(), former_secrets: vec![], forge_token: None, ..environment() };
        home.write_environment(&plain).expect("written");
        assert!(!path.exists());
        home.write_environment(&plain).expect("written again");
    }
}
