//! Transfers large files (git-lfs): which files, from where, and with which settings.
//!
//! git-lfs also reads settings from a `.lfsconfig` in the worktree, in the index or in the commit at HEAD, which an agent or
//! anyone who can push a branch may have written. Therefore every git-lfs on the host runs in its own home inside the mirror,
//! with the mirror's objects and configuration, but without a worktree, an index or a commit. The filters of a worktree also
//! run there and do not use the network: the files that they need are downloaded first, from the endpoint of the default
//! branch. Invariant: no other branch decides where a request goes or which settings git-lfs uses.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::address::is_public;
use model::ids::ObjectId;
use model::lfs::{Endpoint, endpoint};
use model::names::RepositoryUrl;
use process::{RunProgramError, Stdin, Stdout};
use tokio_util::sync::CancellationToken;

use super::lfs_home::{self, IN_HOME};
use super::mirror::Mirror;
use super::program::{ANSWER_LIMIT_BYTES, Git, GitDir, LONG, answer};

/// Enables git-lfs the way `git lfs install` does.
const INSTALLED: &[(&str, &str)] = &[
    ("filter.lfs.clean", "git-lfs clean -- %f"),
    ("filter.lfs.smudge", "git-lfs smudge -- %f"),
    ("filter.lfs.process", "git-lfs filter-process"),
    ("filter.lfs.required", "true"),
];

/// The maximum size of a git-lfs pointer in bytes.
const POINTER_LIMIT_BYTES: u64 = 1024;

/// The maximum number of small files that are read at once.
const READ_AT_ONCE: usize = 20_000;

/// The maximum size of a `.lfsconfig` in bytes.
const CONFIG_LIMIT_BYTES: usize = 1 << 20;

/// The time limit for resolving a name.
const LOOKUP: Duration = Duration::from_secs(10);

/// The content of a pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pointer {
    /// The object's name: the SHA-256 of its content.
    pub(super) oid: String,
    size: u64,
}

impl Pointer {
    fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let version = text.lines().next()?.strip_prefix("version ")?;
        let is_known = version.starts_with("https://git-lfs.github.com/spec/") || version.starts_with("http://git-media.io/v/");
        let oid = text.lines().find_map(|line| line.strip_prefix("oid sha256:"))?;
        let is_oid = oid.len() == 64 && oid.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        let size = text.lines().find_map(|line| line.strip_prefix("size ")?.parse().ok())?;
        (is_known && is_oid).then(|| Self { oid: oid.to_owned(), size })
    }

    /// Whether the mirror has the object.
    pub(super) fn is_here(&self, mirror: &Path) -> bool {
        let (first, second) = (&self.oid[..2], &self.oid[2..4]);
        let object = mirror.join("lfs/objects").join(first).join(second).join(&self.oid);
        self.size == 0 || fs_err::metadata(object).is_ok_and(|found| found.is_file() && found.len() == self.size)
    }
}

/// Makes sure that git-lfs's home exists.
pub(super) fn ensure_home(git: &Git, mirror: &Path) -> Result<PathBuf, RunProgramError> {
    lfs_home::ensure(mirror).map_err(|source| RunProgramError::Io { program: git.tool().to_string(), source })
}

impl Git {
    /// Returns settings that disable every filter except git-lfs, which keeps the user's configuration, or is enabled if it is
    /// installed but not configured. Filters can have any name, so their names are read from the configuration. A worktree's
    /// `.gitattributes`, which the agent writes, chooses among them. git-lfs runs in its home.
    pub(super) async fn filters(&self, git_dir: GitDir<'_>) -> Result<Vec<(String, String)>, RunProgramError> {
        if let GitDir::Worktree { mirror, .. } = git_dir {
            ensure_home(self, mirror)?;
        }
        let listing = self.command(git_dir).args(["config", "-z", "--get-regexp", r"^filter\."]);
        let listed = listing.stdout(Stdout::Capture { max: ANSWER_LIMIT_BYTES }).run().await?;
        let mut settings = vec![];
        let mut lfs = BTreeMap::new();
        for record in listed.text().split('\0') {
            let (key, value) = record.split_once('\n').unwrap_or((record, ""));
            let Some((driver, what)) = key.strip_prefix("filter.").and_then(|key| key.rsplit_once('.')) else { continue };
            if driver == "lfs" {
                lfs.insert(what.to_owned(), value.to_owned());
            } else {
                let off = |what: &str, value: &str| (format!("filter.{driver}.{what}"), value.to_owned());
                settings.extend([off("clean", ""), off("smudge", ""), off("process", ""), off("required", "false")]);
            }
        }
        if self.has_lfs() && lfs.is_empty() {
            let split = |(name, value): &(&str, &str)| {
                let what = name.rsplit_once('.').map_or(*name, |(_, what)| what);
                (what.to_owned(), (*value).to_owned())
            };
            lfs = INSTALLED.iter().map(split).collect();
        }
        settings.extend(lfs.into_iter().map(|(what, value)| {
            let is_command = ["clean", "smudge", "process"].contains(&what.as_str()) && !value.is_empty();
            (format!("filter.lfs.{what}"), if is_command { format!("{IN_HOME}{value}") } else { value })
        }));
        Ok(settings)
    }
}

/// The settings for downloads and uploads of large files.
pub(super) enum LargeFilesSettings {
    /// Requests are allowed, with these settings.
    Allowed(Vec<(String, String)>),
    /// No request is allowed, for this reason.
    Refused(String),
}

impl Mirror {
    /// Downloads the missing large files of a commit. Returns a note if some are still missing.
    pub(super) async fn fetch_large_files(
        &self,
        commit: &ObjectId,
        cancel: &CancellationToken,
    ) -> Result<Option<String>, RunProgramError> {
        let (git, path) = (self.git(), self.path());
        let missing = missing(git, path, commit).await?;
        if missing == 0 {
            return Ok(None);
        }
        match self.large_files_settings().await? {
            LargeFilesSettings::Allowed(settings) => download(git, path, commit, &settings, cancel).await,
            LargeFilesSettings::Refused(why) => Ok(Some(format!("{missing} large files are only pointers: {why}"))),
        }
    }

    /// Returns the settings for downloads and uploads: the endpoint of the default branch, if it names one that may be used.
    /// Otherwise git-lfs derives it from the remote.
    pub(super) async fn large_files_settings(&self) -> Result<LargeFilesSettings, RunProgramError> {
        let git_dir = || GitDir::Mirror(self.path());
        if !self.git().command(git_dir()).args(["cat-file", "-e", "HEAD:.lfsconfig"]).run().await?.status.success() {
            return Ok(LargeFilesSettings::Allowed(vec![]));
        }
        let config = self.git().command(git_dir()).args(["config", "--blob", "HEAD:.lfsconfig", "--no-includes", "-z", "--list"]);
        let config = match config.stdout(Stdout::Capture { max: CONFIG_LIMIT_BYTES }).run_ok().await {
            Ok(config) => config.text(),
            Err(error) => {
                let why = format!("`.lfsconfig` of the default branch cannot be read: {error}");
                return Ok(LargeFilesSettings::Refused(why));
            }
        };
        let origin = answer(self.git().command(git_dir()).args(["config", "--get", "remote.origin.url"])).await?;
        let Ok(origin) = RepositoryUrl::parse(&origin) else { return Ok(LargeFilesSettings::Allowed(vec![])) };
        let asked: BTreeMap<_, _> = config.split('\0').filter_map(|record| record.split_once('\n')).collect();
        let mut settings = vec![];
        for (key, sources) in
            [("lfs.url", ["lfs.url", "remote.origin.lfsurl"].as_slice()), ("lfs.pushurl", ["lfs.pushurl"].as_slice())]
        {
            let Some(url) = sources.iter().find_map(|source| asked.get(source)) else { continue };
            if self.is_set(key).await? {
                // The user's own configuration wins, as it does in git-lfs.
                continue;
            }
            if let Err(why) = may_use(&origin, url).await {
                let why = format!("the default branch's `.lfsconfig` names an endpoint that is not allowed: {why}");
                return Ok(LargeFilesSettings::Refused(why));
            }
            settings.push((key.to_owned(), (*url).to_owned()));
        }
        for key in ["lfs.fetchinclude", "lfs.fetchexclude", "lfs.locksverify"] {
            if let Some(value) = asked.get(key)
                && !self.is_set(key).await?
            {
                settings.push((key.to_owned(), (*value).to_owned()));
            }
        }
        Ok(LargeFilesSettings::Allowed(settings))
    }

    /// Whether the user's configuration has a setting for git-lfs.
    async fn is_set(&self, key: &str) -> Result<bool, RunProgramError> {
        let home = ensure_home(self.git(), self.path())?;
        let git_dir = GitDir::LargeFiles { mirror: self.path(), home: &home };
        Ok(self.git().command(git_dir).args(["config", "--get", key]).run().await?.status.success())
    }
}

/// Downloads the large files of a commit into a bare repository. Returns a note if some are still missing.
pub(super) async fn download(
    git: &Git,
    repository: &Path,
    commit: &ObjectId,
    settings: &[(String, String)],
    cancel: &CancellationToken,
) -> Result<Option<String>, RunProgramError> {
    let before = missing(git, repository, commit).await?;
    if before == 0 {
        return Ok(None);
    }
    if !git.has_lfs() {
        let note = "large files are only pointers, because git-lfs is not installed on this machine; install it and create the task again";
        return Ok(Some(note.to_owned()));
    }
    let home = ensure_home(git, repository)?;
    let command = git.network_command_with(GitDir::LargeFiles { mirror: repository, home: &home }, settings).await?;
    let command = command.args(["lfs", "fetch", "origin", commit.as_str()]).deadline(LONG).cancel(cancel.clone());
    match command.run_ok().await {
        Err(error @ RunProgramError::Cancelled { .. }) => return Err(error),
        Err(error) => tracing::warn!(repository = %repository.display(), %error, "could not download Git LFS files"),
        Ok(_) => {}
    }
    let after = missing(git, repository, commit).await?;
    Ok((after > 0).then(|| format!("{after} large files are only pointers, because git-lfs could not download them")))
}

/// Counts the files of a commit that are pointers to missing objects.
async fn missing(git: &Git, repository: &Path, commit: &ObjectId) -> Result<usize, RunProgramError> {
    let git_dir = GitDir::Mirror(repository);
    let uses = git.command(git_dir).args(["grep", "--quiet", "--fixed-strings", "-e", "filter=lfs", commit.as_str(), "--"]);
    if !uses.arg(":(glob)**/.gitattributes").deadline(LONG).run().await?.status.success() {
        return Ok(0);
    }
    let mut small = vec![];
    let on_record = |record: &[u8]| {
        // The format is `mode type id size TAB path`, with spaces before the size.
        let fields = record.split(|&byte| byte == b'\t').next().map(String::from_utf8_lossy).unwrap_or_default();
        let mut fields = fields.split_ascii_whitespace().skip(1);
        if let (Some("blob"), Some(id), Some(Ok(size))) = (fields.next(), fields.next(), fields.next().map(str::parse::<u64>))
            && size < POINTER_LIMIT_BYTES
        {
            small.push(id.to_owned());
        }
    };
    let listing = git.command(git_dir).args(["ls-tree", "-r", "-z", "-l", "--full-tree", commit.as_str()]).deadline(LONG);
    listing.stdout(Stdout::Records(Box::new(on_record))).run_ok().await?;
    let pointers = pointers_in(git, repository, small.clone()).await?;
    let missing: BTreeMap<_, _> = pointers.into_iter().filter(|(_, pointer)| !pointer.is_here(repository)).collect();
    Ok(small.iter().filter(|id| missing.contains_key(*id)).count())
}

/// Returns which of these objects are git-lfs pointers.
pub(super) async fn pointers_in(
    git: &Git,
    repository: &Path,
    mut ids: Vec<String>,
) -> Result<BTreeMap<String, Pointer>, RunProgramError> {
    ids.sort_unstable();
    ids.dedup();
    let mut found = BTreeMap::new();
    for ids in ids.chunks(READ_AT_ONCE) {
        let ask = |arguments: &[&str], ids: &[&str]| {
            let input = Stdin::Bytes((ids.join("\n") + "\n").into_bytes());
            let command = git.command(GitDir::Mirror(repository)).args(arguments).stdin(input).deadline(LONG);
            command.stdout(Stdout::Capture { max: ANSWER_LIMIT_BYTES })
        };
        let ids: Vec<_> = ids.iter().map(String::as_str).collect();
        let sizes = ask(&["cat-file", "--batch-check=%(objectname) %(objectsize)"], &ids).run_ok().await?.text();
        let small = sizes.lines().filter_map(|line| line.split_once(' '));
        let small = small.filter(|(_, size)| size.parse().is_ok_and(|size: u64| size < POINTER_LIMIT_BYTES));
        let small: Vec<_> = small.map(|(id, _)| id).collect();
        if small.is_empty() {
            continue;
        }
        let contents = ask(&["cat-file", "--batch"], &small).run_ok().await?;
        let mut rest = contents.stdout.as_slice();
        // `id type size LF content LF`
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let header = String::from_utf8_lossy(&rest[..end]).into_owned();
            let mut fields = header.split(' ');
            let (Some(id), Some(Ok(size))) = (fields.next(), fields.nth(1).map(str::parse::<usize>)) else { break };
            let Some(content) = rest.get(end + 1..end + 1 + size) else { break };
            found.extend(Pointer::parse(content).map(|pointer| (id.to_owned(), pointer)));
            rest = rest.get(end + 2 + size..).unwrap_or_default();
        }
    }
    Ok(found)
}

/// Whether the endpoint may be used. The name of a different host must resolve to a public address, unless the repository
/// itself has the same address.
async fn may_use(origin: &RepositoryUrl, url: &str) -> Result<(), String> {
    let (host, port) = match endpoint(origin, url)? {
        Endpoint::SameHost => return Ok(()),
        Endpoint::Elsewhere { host, port } => (host, port),
    };
    // A name that cannot be resolved here cannot be reached, except through a proxy that resolves it.
    let asked = addresses_of(&host, port).await;
    let own = match origin.host() {
        Some(own) => addresses_of(own.trim_matches(['[', ']']), port).await,
        None => vec![],
    };
    match asked.iter().find(|address| !is_public(**address) && !own.contains(address)) {
        Some(address) => Err(format!("`{host}` resolves to {address}, which belongs to this machine or its network")),
        None => Ok(()),
    }
}

async fn addresses_of(host: &str, port: u16) -> Vec<IpAddr> {
    let found = tokio::time::timeout(LOOKUP, tokio::net::lookup_host((host, port))).await;
    found.ok().and_then(Result::ok).into_iter().flatten().map(|found: SocketAddr| found.ip()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_told_from_other_small_files() {
        let oid = "9bfce334a37bd1bc1d36b0370195b31fe9a9389dd43d0873891a3544ef1140a1";
        let text = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 6\n");
        assert_eq!(Pointer::parse(text.as_bytes()), Some(Pointer { oid: oid.to_owned(), size: 6 }));
        for other in [
            String::new(),
            "version 1\n".to_owned(),
            text.replace("size 6\n", ""),
            text.replace(oid, "../../../../etc/passwd"),
            text.replace(oid, &oid.to_uppercase()),
            format!("# {text}"),
        ] {
            assert_eq!(Pointer::parse(other.as_bytes()), None, "{other}");
        }
        assert_eq!(Pointer::parse(b"version https://git-lfs.github.com/spec/v1\n\xff\n"), None);
    }

    #[tokio::test]
    async fn numbers_and_names_of_this_machine_are_not_asked() {
        let origin = RepositoryUrl::parse("https://x.invalid/o/r.git").expect("a URL");
        for url in [
            "https://127.0.0.1/lfs",
            "https://127.0.0.1:8443/lfs",
            "https://localhost/lfs",
            "https://127.1/lfs",
            "https://2130706433/lfs",
            "https://0x7f000001/lfs",
            "https://[::1]/lfs",
            "https://[::ffff:169.254.169.254]/lfs",
            "https://169.254.169.254/latest",
            "https://10.0.0.1/lfs",
        ] {
            may_use(&origin, url).await.expect_err(url);
        }
        let local = RepositoryUrl::parse("https://127.0.0.1:3000/r.git").expect("a URL");
        assert_eq!(may_use(&local, "https://localhost:4000/lfs").await, Ok(()), "the repository itself has this address");
        assert_eq!(may_use(&origin, "https://1.1.1.1/lfs").await, Ok(()));
    }
}
