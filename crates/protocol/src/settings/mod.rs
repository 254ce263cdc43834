//! The table of a repository's settings, over the requests and responses of the API.
//!
//! The form on the repository's page, the flags of `env add` and `env edit`, `env config`, `env show` and `docs/settings.md` are derived
//! from the table. [`model::settings`] describes each setting.

mod general;
mod reference;

use std::ops::Deref;
use std::sync::LazyLock;

use model::commit::{self, CommitSettings, EditCommits};
use model::container::{self, ContainerSettings, EditContainer};
use model::forge::{self, EditForge, ForgeSettings};
use model::policy::{self, EditRunPolicy, RunPolicy};
use model::problem::Problem;
use model::settings::Row;
pub use model::settings::{Choice, Description, Group, Input, Required};
use model::sources::{self, EditSources, SourceSettings};

pub use self::reference::reference;
use crate::{CreateEnvironment, EditEnvironment, EnvironmentView};

/// A setting of a repository.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    description: &'static Description,
    access: Access,
}

/// Where a setting is in the requests and responses of the API.
#[derive(Debug, Clone, Copy)]
enum Access {
    General(&'static Row<EnvironmentView, EditEnvironment>),
    Container(&'static Row<ContainerSettings, EditContainer>),
    Runs(&'static Row<RunPolicy, EditRunPolicy>),
    Commits(&'static Row<CommitSettings, EditCommits>),
    Sources(&'static Row<SourceSettings, EditSources>),
    Forge(&'static Row<ForgeSettings, EditForge>),
}

impl Deref for Setting {
    type Target = Description;

    fn deref(&self) -> &Description {
        self.description
    }
}

impl Setting {
    fn new(description: &'static Description, access: Access) -> Self {
        Self { description, access }
    }

    /// Returns the current values: none if the default applies. For secrets, returns the names instead of the values.
    pub fn current(&self, view: &EnvironmentView) -> Vec<String> {
        match self.access {
            Access::General(row) => (row.current)(view),
            Access::Container(row) => (row.current)(&view.container),
            Access::Runs(row) => (row.current)(&view.runs),
            Access::Commits(row) => (row.current)(&view.commits),
            Access::Sources(row) => (row.current)(&view.sources),
            Access::Forge(row) => (row.current)(&view.forge),
        }
    }

    /// Checks `values` and adds the change to a request. An empty list requests the default.
    pub fn change(&self, edit: &mut EditEnvironment, values: &[String]) -> Result<(), Problem> {
        if self.required == Required::Yes && values.is_empty() {
            return Err(general::required(self.key));
        }
        match self.access {
            Access::General(row) => (row.change)(edit, self.key, values),
            Access::Container(row) => (row.change)(edit.container.get_or_insert_default(), self.key, values),
            Access::Runs(row) => (row.change)(edit.runs.get_or_insert_default(), self.key, values),
            Access::Commits(row) => (row.change)(edit.commits.get_or_insert_default(), self.key, values),
            Access::Sources(row) => (row.change)(edit.sources.get_or_insert_default(), self.key, values),
            Access::Forge(row) => (row.change)(edit.forge.get_or_insert_default(), self.key, values),
        }
    }
}

static ALL: LazyLock<Vec<Setting>> = LazyLock::new(|| {
    let general = general::SETTINGS.iter().map(|row| Setting::new(&row.description, Access::General(row)));
    let container = container::SETTINGS.iter().map(|row| Setting::new(&row.description, Access::Container(row)));
    let runs = policy::SETTINGS.iter().map(|row| Setting::new(&row.description, Access::Runs(row)));
    let commits = commit::SETTINGS.iter().map(|row| Setting::new(&row.description, Access::Commits(row)));
    let sources = sources::SETTINGS.iter().map(|row| Setting::new(&row.description, Access::Sources(row)));
    let forge = forge::SETTINGS.iter().map(|row| Setting::new(&row.description, Access::Forge(row)));
    let tokens = general::TOKENS.iter().map(|row| Setting::new(&row.description, Access::General(row)));
    let every: Vec<_> = general.chain(container).chain(runs).chain(commits).chain(sources).chain(forge).chain(tokens).collect();
    Group::ALL.into_iter().flat_map(|group| every.iter().copied().filter(move |setting| setting.group == group)).collect()
});

/// Returns the settings of a group.
pub fn of(group: Group) -> impl Iterator<Item = &'static Setting> {
    all().filter(move |setting| setting.group == group)
}

/// Returns every setting, group by group.
pub fn all() -> impl Iterator<Item = &'static Setting> {
    ALL.iter()
}

/// Finds a setting by its key or flag. Dashes and underscores are equivalent.
pub fn find(name: &str) -> Option<&'static Setting> {
    let name = name.trim_start_matches("--").replace('-', "_");
    all().find(|setting| setting.key == name || setting.flag.replace('-', "_") == name)
}

/// Returns the first conflict between settings that are valid on their own: the key of a setting to fix, and the problem.
pub fn conflict(view: &EnvironmentView, edit: &EditEnvironment) -> Option<(&'static str, Problem)> {
    edit.container.as_ref().and_then(|edit| view.container.conflict_with(edit))
}

/// Turns the settings of a request into a request for a new repository.
pub fn create(repo_url: String, edit: EditEnvironment) -> CreateEnvironment {
    CreateEnvironment {
        repo_url,
        default_branch: edit.default_branch,
        name: edit.name,
        variables: edit.variables.unwrap_or_default(),
        secrets: edit.secrets.into_iter().filter_map(|(name, secret)| Some((name, secret?))).collect(),
        container: edit.container,
        runs: edit.runs,
        forge: edit.forge,
        commits: edit.commits,
        sources: edit.sources,
    }
}

#[cfg(test)]
mod tests;
