//! Who makes a commit: its author, its committer, and the key that signs it.
//!
//! Nothing is checked here: the settings of a repository contain only valid names. Invariant: names are passed to git in variables,
//! never as arguments.

use model::commit::{CommitSettings, Identity, SigningKey};
use process::CommandSpec;

/// The author or committer of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The display name.
    pub name: String,
    /// The email address, which need not exist.
    pub email: String,
}

/// The author and the committer of a commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Makers {
    /// The author.
    pub author: Signature,
    /// The committer.
    pub committer: Signature,
    /// The key that signs the commit.
    pub signing_key: Option<SigningKey>,
}

impl Makers {
    /// Makes these the author and the committer of a command's commit.
    pub(super) fn on<'a>(&self, command: CommandSpec<'a>) -> CommandSpec<'a> {
        let Self { author, committer, signing_key: _ } = self;
        let command = command.env("GIT_AUTHOR_NAME", &author.name).env("GIT_AUTHOR_EMAIL", &author.email);
        command.env("GIT_COMMITTER_NAME", &committer.name).env("GIT_COMMITTER_EMAIL", &committer.email)
    }
}

impl From<&CommitSettings> for Makers {
    fn from(settings: &CommitSettings) -> Self {
        let [author, committer] = settings.makers().map(|identity| identity.map(Signature::from).unwrap_or_default());
        Self { author, committer, signing_key: settings.signing_key.clone() }
    }
}

impl From<&Identity> for Signature {
    fn from(identity: &Identity) -> Self {
        Self { name: identity.name().to_owned(), email: identity.email().to_owned() }
    }
}

impl Default for Signature {
    fn default() -> Self {
        Self { name: "Codex".to_owned(), email: "codex@localhost".to_owned() }
    }
}
