//! Settings for the commits of a repository's runs: how much a commit may add without asking, who its author is, and which key signs
//! it.
//!
//! Every value is checked when a user sets it. Invariant: names and addresses contain nothing that could end a header line of a
//! commit.

use serde::{Deserialize, Serialize};

use super::select::Limits;
use crate::error_code::ErrorCode;
use crate::ids::{RunNumber, TaskId};
use crate::names::shown;
use crate::problem::Problem;
use crate::schema::{CONTROL, described, text};
use crate::settings::{Group, Input, settings, text_by_as_str};

/// The default limits of a commit. The files of ordinary work are far fewer and smaller.
const DEFAULT: Limits = Limits { files: 2_000, bytes: 100 << 20, file_bytes: 20 << 20 };

/// The author of commits if none is set.
const CODEX: &str = "Codex <codex@localhost>";

/// The maximum length of an identity in bytes.
const IDENTITY_LIMIT_BYTES: usize = 500;

/// The name and the email address of a person or a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Identity {
    text: String,
    /// Where the name ends.
    end: usize,
}

described!(
    Identity,
    text(
        "A name and an email address, e.g. `Ada Lovelace <ada@example.org>`. At most 500 bytes.",
        format!("^[^<>{CONTROL}]*[^<>{CONTROL} ] <[^<>{CONTROL} ]+>$")
    )
);

impl Identity {
    /// Parses `NAME <EMAIL>`.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let is_plain = |text: &str| !text.contains(|c: char| c.is_control() || matches!(c, '<' | '>'));
        let parts = text.strip_suffix('>').and_then(|rest| rest.split_once(" <"));
        let is_valid = parts.is_some_and(|(name, email)| {
            is_plain(name)
                && is_plain(email)
                && !name.is_empty()
                && !name.ends_with(' ')
                && !email.is_empty()
                && !email.contains(' ')
        });
        match parts.filter(|_| is_valid && text.len() <= IDENTITY_LIMIT_BYTES) {
            Some((name, _)) => Ok(Self { text: text.to_owned(), end: name.len() }),
            None => Err(refused(format!("invalid name and email address `{}`", shown(text)))
                .hint("use a form like `Ada Lovelace <ada@example.org>`")),
        }
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.text[..self.end]
    }

    /// Returns the email address.
    pub fn email(&self) -> &str {
        &self.text[self.end + " <".len()..self.text.len() - ">".len()]
    }

    /// Returns `NAME <EMAIL>`.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl TryFrom<String> for Identity {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).map_err(|problem| problem.report.message)
    }
}

impl From<Identity> for String {
    fn from(identity: Identity) -> Self {
        identity.text
    }
}

/// A key of the server's user that signs commits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SigningKey {
    /// The path of an SSH private key.
    Ssh(String),
    /// The ID or the fingerprint of a GPG key.
    Gpg(String),
}

described!(
    SigningKey,
    text(
        "The absolute path of an SSH private key on the server's machine, or the ID of a GPG key: 8 to 40 hexadecimal digits. At most \
         4,000 bytes.",
        format!("^(?:/[^{CONTROL}]*|[0-9A-Fa-f]{{8,40}})$")
    )
);

impl SigningKey {
    /// Parses a path or the ID of a key.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let is_id = (8..=40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if text.starts_with('/') && text.len() <= 4000 && !text.chars().any(char::is_control) {
            Ok(Self::Ssh(text.to_owned()))
        } else if is_id {
            Ok(Self::Gpg(text.to_owned()))
        } else {
            Err(refused(format!("invalid signing key `{}`", shown(text)))
                .hint("use the absolute path of an SSH private key on the server's machine, or the ID of a GPG key"))
        }
    }

    /// Returns the path or the ID.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Ssh(text) | Self::Gpg(text) => text,
        }
    }
}

impl TryFrom<String> for SigningKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).map_err(|problem| problem.report.message)
    }
}

impl From<SigningKey> for String {
    fn from(key: SigningKey) -> Self {
        key.as_str().to_owned()
    }
}

text_by_as_str!(Identity, SigningKey);

settings! {
    /// What the commits of a repository's runs contain, and who makes them. Omitted settings have their default values.
    #[derive(Eq)]
    pub struct CommitSettings;

    /// Changes to [`CommitSettings`]. Omitted settings keep their values, and null restores the default.
    #[derive(Eq)]
    pub struct EditCommits {}

    commits in Group::Commits, or refused;

    /// Number of new files that a run commits without asking, from 1 to 500,000
    ///
    /// Files beyond the limits are held until you decide whether to commit or ignore them.
    #[schema(minimum = 1, maximum = 500_000)]
    max_new_files: Option<u64> = u64 as u64 => |files| at_most("max_new_files", files, Limits::MOST.files).map(Some), {
        flag: "max-new-files",
        label: "Max new files",
        default: "2000",
    }

    /// Total size of new and changed files that a run commits without asking, in megabytes, from 1 to 960
    #[schema(minimum = 1, maximum = 960)]
    max_commit_mb: Option<u64> = u64 as u64 => |size| at_most("max_commit_mb", size, Limits::MOST.bytes >> 20).map(Some), {
        flag: "max-commit-mb",
        label: "Max commit size (MB)",
        default: "100",
    }

    /// Size of a new or changed file that a run commits without asking, in megabytes, from 1 to 512
    ///
    /// Files that Git LFS stores do not count.
    #[schema(minimum = 1, maximum = 512)]
    max_file_mb: Option<u64> = u64 as u64 => |size| at_most("max_file_mb", size, Limits::MOST.file_bytes >> 20).map(Some), {
        flag: "max-file-mb",
        label: "Max file size (MB)",
        default: "20",
    }

    /// Author of the commits that end a run, e.g. `Ada Lovelace <ada@example.org>`
    ///
    /// The agent's own commits keep the author that it chose.
    author: Option<Identity> = String as Identity => |text| Identity::parse(&text).map(Some), {
        flag: "author",
        label: "Author",
        default: "Codex, with the address codex@localhost",
        input: Input::Words("NAME <EMAIL>"),
    }

    /// Committer of these commits
    committer: Option<Identity> = String as Identity => |text| Identity::parse(&text).map(Some), {
        flag: "committer",
        label: "Committer",
        default: "the author",
        input: Input::Words("NAME <EMAIL>"),
    }

    /// Whether these commits have a `Signed-off-by` line with the committer
    sign_off: bool = bool as bool => Ok, {
        flag: "sign-off",
        label: "Sign off",
        default: "off",
        input: Input::Switch,
    }

    /// Co-author that these commits name in a `Co-authored-by` line
    co_author: Option<Identity> = String as Identity => |text| Identity::parse(&text).map(Some), {
        flag: "co-author",
        label: "Co-author",
        default: "none",
        input: Input::Words("NAME <EMAIL>"),
    }

    /// Key that signs these commits: the absolute path of an SSH private key on the server's machine, or the ID of a GPG key
    ///
    /// The server signs, so the agent never sees the key. The key must work without a passphrase, or with an agent of the server's user.
    signing_key: Option<SigningKey> = String as SigningKey => |text| SigningKey::parse(&text).map(Some), {
        flag: "signing-key",
        label: "Signing key",
        default: "none",
        input: Input::Text("KEY"),
    }
}

fn refused(detail: String) -> Problem {
    Problem::new(ErrorCode::CommitsRefused, detail)
}

fn at_most(key: &str, number: u64, most: u64) -> Result<u64, Problem> {
    if (1..=most).contains(&number) {
        return Ok(number);
    }
    Err(refused(format!("invalid number {number} for `{key}`")).hint(format!("use a number from 1 to {most}")))
}

impl CommitSettings {
    /// Applies `edit` to these settings.
    pub fn edited(self, edit: &EditCommits) -> Result<Self, Problem> {
        self.with_each(edit)
    }

    /// Returns the author, and the committer.
    pub fn makers(&self) -> [Option<&Identity>; 2] {
        [self.author.as_ref(), self.committer.as_ref().or(self.author.as_ref())]
    }

    /// Returns the lines at the end of a commit's message that name people.
    pub fn trailers(&self) -> Vec<String> {
        let co_author = self.co_author.as_ref().map(|author| format!("Co-authored-by: {}", author.as_str()));
        let [_, committer] = self.makers();
        let sign_off = self.sign_off.then(|| format!("Signed-off-by: {}", committer.map_or(CODEX, Identity::as_str)));
        co_author.into_iter().chain(sign_off).collect()
    }

    /// Returns the message of a commit with files that a run had not committed.
    pub fn message_for_files(&self, paths: usize, task: TaskId, after: RunNumber) -> String {
        let what = if paths == 1 { "a file or folder".to_owned() } else { format!("{paths} files and folders") };
        let trailers = [vec![format!("Task-Id: {task}")], self.trailers()].concat().join("\n");
        format!("Commit {what} of run {after}\n\n{trailers}\n")
    }

    /// Returns the limits up to which a commit does not ask.
    pub fn limits(&self) -> Limits {
        let megabytes = |size: Option<u64>, default: u64| size.map_or(default, |size| size << 20);
        Limits {
            files: self.max_new_files.unwrap_or(DEFAULT.files),
            bytes: megabytes(self.max_commit_mb, DEFAULT.bytes),
            file_bytes: megabytes(self.max_file_mb, DEFAULT.file_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::tests::agree;

    #[test]
    fn the_schemas_describe_what_the_parsers_accept() {
        const PIECES: &[&str] = &["A", "é", " ", "<", ">", "@", "\n", "/", "0", "f", "0123456789abcdef"];
        let identities =
            ["Ada Lovelace <ada@example.org>", "A <a>", " A <a>", "A  <a>", "A <a b>", "<a>", "A <>", "A <a> b", "A\u{85} <a>"];
        agree::<Identity>(|text| Identity::parse(text).is_ok(), &identities, PIECES);
        let keys = ["/home/me/.ssh/id", "/", "0123ABCD", "0123abc", "id_ed25519", "-x"];
        agree::<SigningKey>(|text| SigningKey::parse(text).is_ok(), &keys, PIECES);
    }

    #[test]
    fn an_identity_has_a_name_and_an_address() {
        let identity = Identity::parse("Ada L <ada@example.org>").expect("the identity is valid");
        assert_eq!((identity.name(), identity.email()), ("Ada L", "ada@example.org"));
        assert_eq!(Identity::parse("Ada\n").expect_err("invalid").report.code, ErrorCode::CommitsRefused);
    }

    #[test]
    fn people_are_named_at_the_end_of_a_message() {
        let identity = |text| Identity::parse(text).expect("the identity is valid");
        let settings = CommitSettings {
            author: Some(identity("A <a@b>")),
            co_author: Some(identity("C <c@d>")),
            sign_off: true,
            ..CommitSettings::default()
        };
        assert_eq!(settings.trailers(), ["Co-authored-by: C <c@d>", "Signed-off-by: A <a@b>"]);
        let committer = CommitSettings { committer: Some(identity("B <b@c>")), ..settings };
        assert_eq!(committer.trailers()[1], "Signed-off-by: B <b@c>");
        let default = CommitSettings { sign_off: true, ..CommitSettings::default() };
        assert_eq!(default.trailers(), ["Signed-off-by: Codex <codex@localhost>"]);
        assert_eq!(Identity::parse(CODEX).map(|codex| codex.as_str().to_owned()), Ok(CODEX.to_owned()));
    }

    #[test]
    fn settings_survive_json_and_limits_have_defaults() {
        let edit = serde_json::from_str(
            r#"{"max_new_files": 10, "max_file_mb": 1, "author": "A <a@b>", "sign_off": true, "signing_key": "/k"}"#,
        );
        let settings = CommitSettings::default().edited(&edit.expect("the edit is valid")).expect("the settings are valid");
        assert_eq!(settings.limits(), Limits { files: 10, bytes: 100 << 20, file_bytes: 1 << 20 });
        let text = serde_json::to_string(&settings).expect("the settings can be serialized");
        assert_eq!(serde_json::from_str::<CommitSettings>(&text).expect("the JSON is valid"), settings);
        assert_eq!(CommitSettings::default().limits(), DEFAULT);
        for edit in [r#"{"max_new_files": 0}"#, r#"{"max_commit_mb": 961}"#, r#"{"max_file_mb": 513}"#, r#"{"author": "A"}"#] {
            let edit = serde_json::from_str(edit).expect("the edit is well-formed");
            assert_eq!(CommitSettings::default().edited(&edit).expect_err("invalid").report.code, ErrorCode::CommitsRefused);
        }
    }
}
