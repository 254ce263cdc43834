//! Keeps objects that no branch or tag refers to but that are still needed: by an agent repository that borrows them, a removed
//! worktree that can be restored, an unfinished merge, or a record that names a commit.
//!
//! Each of these objects gets a ref below `refs/orchestrator/needed/`, so that git keeps it with everything that it refers to.
//! Only a repack changes these refs. Invariant: files may mention any ID, but only objects that exist in the mirror get a ref.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use process::{CommandSpec, RunProgramError, Stdin};
use tokio_util::sync::CancellationToken;

use super::admin;
use super::mirror::Mirror;
use super::program::{GitDir, LONG, answer};
use super::retire::removed_ref;

/// The prefix of the refs.
const NEEDED: &str = "refs/orchestrator/needed/";

/// Files and folders in git's files about a worktree that contain no IDs, or only IDs of other repositories.
const NOT_READ: [&str; 4] = ["index", "modules", "lfs", "objects"];

/// The maximum depth of the folders that are read, such as `logs/refs/heads/codex/<task>`.
const DEPTH: usize = 6;

/// What needs objects of a mirror, besides its refs and worktrees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// IDs that files mention.
    pub ids: BTreeSet<String>,
    /// The files about removed worktrees, each with the name that its branch is kept under.
    pub retired: Vec<(PathBuf, String)>,
    /// A repository that borrows objects but has no list of them. If there is one, nothing may be pruned.
    pub unlisted: Option<PathBuf>,
}

impl Needs {
    /// Adds the IDs that a file mentions. A missing file adds none.
    pub fn read(&mut self, file: &Path) -> io::Result<()> {
        match std::fs::read(file) {
            Ok(bytes) => self.ids.extend(mentioned(&bytes)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", file.display()))),
        }
        Ok(())
    }

    /// Adds the IDs in git's files about a worktree: its HEAD, its logs, and its unfinished operations.
    fn read_administration(&mut self, folder: &Path, depth: usize) -> io::Result<()> {
        let entries = match fs_err::read_dir(folder) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            // Links are not followed.
            let kind = entry.file_type()?;
            if NOT_READ.iter().any(|skipped| name.as_encoded_bytes() == skipped.as_bytes()) {
                continue;
            }
            if kind.is_file() {
                self.read(&entry.path())?;
            } else if kind.is_dir() && depth > 0 {
                self.read_administration(&entry.path(), depth - 1)?;
            }
        }
        Ok(())
    }
}

/// Finds words with the length and the digits of a complete object ID.
fn mentioned(bytes: &[u8]) -> impl Iterator<Item = String> {
    let words = bytes.split(|byte| !byte.is_ascii_alphanumeric());
    let is_id = |word: &&[u8]| {
        matches!(word.len(), 40 | 64) && word.iter().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte))
    };
    words.filter(is_id).filter_map(|word| std::str::from_utf8(word).ok().map(str::to_owned))
}

impl Mirror {
    /// Updates the refs so that they name exactly the needed objects. The caller holds the writer's lock.
    pub(super) async fn name_needed(&self, mut needs: Needs, cancel: &CancellationToken) -> Result<(), RunProgramError> {
        let lost = |source| RunProgramError::Io { program: "git".to_owned(), source };
        self.read_administrations(&mut needs).await.map_err(lost)?;
        for (administration, keep_as) in std::mem::take(&mut needs.retired) {
            needs.ids.extend(self.staged_in(&administration, &keep_as, cancel).await?);
        }
        let listed = self.ask(&["for-each-ref", "--format=%(objectname) %(refname)"], cancel);
        let listed = answer(listed).await?;
        let (mut named, mut tips) = (BTreeSet::new(), BTreeSet::new());
        for (id, name) in listed.lines().filter_map(|line| line.split_once(' ')) {
            let known = if name.starts_with(NEEDED) { &mut named } else { &mut tips };
            known.insert(id.to_owned());
        }
        needs.ids.retain(|id| !tips.contains(id));
        let wanted = self.without_reachable(&needs.ids, cancel).await?;
        let create = wanted.difference(&named).map(|id| format!("create {NEEDED}{id} {id}\n"));
        let delete = named.difference(&wanted).map(|id| format!("delete {NEEDED}{id} {id}\n"));
        let moves: String = create.chain(delete).collect();
        if moves.is_empty() {
            return Ok(());
        }
        self.ask(&["update-ref", "--stdin"], cancel).stdin(Stdin::Bytes(moves.into_bytes())).run_ok().await.map(drop)
    }

    fn ask<'a>(&self, arguments: &[&str], cancel: &CancellationToken) -> CommandSpec<'a> {
        self.git().command(GitDir::Mirror(self.path())).args(arguments).cancel(cancel.clone()).deadline(LONG)
    }

    /// Reads git's files about all worktrees, including worktrees that were just removed from the mirror.
    async fn read_administrations(&self, needs: &mut Needs) -> io::Result<()> {
        let (mirror, mut read) = (self.path().to_owned(), std::mem::take(needs));
        let done = tokio::task::spawn_blocking(move || {
            for administration in admin::all(&mirror)? {
                read.read_administration(&administration, DEPTH)?;
            }
            let discarded = match fs_err::read_dir(admin::trash(&mirror)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                entries => entries?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?,
            };
            let discarded = discarded.into_iter().filter(|folder| folder.join("gitdir").is_file());
            read.retired.extend(discarded.map(|folder| (folder, String::new())));
            for (administration, _) in read.retired.clone() {
                read.read_administration(&administration, DEPTH)?;
            }
            Ok::<_, io::Error>(read)
        });
        *needs = done.await.map_err(io::Error::other)??;
        Ok(())
    }

    /// Returns the objects in the index of a removed worktree that its branch does not contain.
    async fn staged_in(
        &self,
        administration: &Path,
        keep_as: &str,
        cancel: &CancellationToken,
    ) -> Result<Vec<String>, RunProgramError> {
        let index = administration.join("index");
        if !index.is_file() {
            return Ok(Vec::new());
        }
        let kept = removed_ref(keep_as);
        let branch = self.commits_of(std::slice::from_ref(&kept)).await?.into_iter().flatten().next();
        let mut ids = Vec::new();
        let differing = ["diff-index", "--cached", "-r", "--raw", "--no-renames", "--no-abbrev", "--ignore-submodules=none"];
        let listings: &[&[&str]] = match &branch {
            Some(branch) => &[&[&differing[..], &[branch.as_str(), "--"]].concat(), &["ls-files", "--unmerged"]],
            None => &[&["ls-files", "--stage"]],
        };
        for listing in listings {
            let listed = answer(self.ask(listing, cancel).env("GIT_INDEX_FILE", &index)).await?;
            ids.extend(mentioned(listed.as_bytes()));
        }
        Ok(ids)
    }

    /// Returns the IDs that are in the mirror. Commits that another ref already keeps are omitted.
    async fn without_reachable(
        &self,
        ids: &BTreeSet<String>,
        cancel: &CancellationToken,
    ) -> Result<BTreeSet<String>, RunProgramError> {
        let lines = |ids: &BTreeSet<String>| Stdin::Bytes(ids.iter().flat_map(|id| [id.as_bytes(), b"\n"].concat()).collect());
        if ids.is_empty() {
            return Ok(BTreeSet::new());
        }
        let check = self.ask(&["cat-file", "--batch-check=%(objectname) %(objecttype)"], cancel).stdin(lines(ids));
        let (mut commits, mut others) = (BTreeSet::new(), BTreeSet::new());
        for line in answer(check).await?.lines() {
            match line.split_once(' ') {
                Some((id, "commit")) => drop(commits.insert(id.to_owned())),
                Some((id, "tag" | "tree" | "blob")) => drop(others.insert(id.to_owned())),
                // The object is missing from the mirror, or this is not an object ID.
                Some(_) | None => {}
            }
        }
        if !commits.is_empty() {
            let exclude = format!("--exclude={NEEDED}*");
            let walk = self.ask(&["rev-list", "--stdin", "--not", &exclude, "--all"], cancel).stdin(lines(&commits));
            others.extend(answer(walk).await?.lines().filter(|id| commits.contains(*id)).map(str::to_owned));
        }
        Ok(others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complete_ids_are_found_in_any_text() {
        let (short, long) = ("0123456789abcdef0123456789abcdef01234567", "ab".repeat(32));
        let text = format!("pick {short} x\n\"commit\":\"{long}\", {short}0 {} {}", &short[1..], short.to_uppercase());
        assert_eq!(mentioned(text.as_bytes()).collect::<Vec<_>>(), [short.to_owned(), long]);
    }

    #[test]
    fn an_administration_is_read_without_its_index_and_without_following_links() {
        let folder = tempfile::tempdir().expect("a folder");
        let (admin, outside) = (folder.path().join("admin"), folder.path().join("outside"));
        let id = |digit: &str| digit.repeat(40);
        fs_err::create_dir_all(admin.join("logs/refs/heads")).expect("made");
        fs_err::create_dir_all(admin.join("modules/x")).expect("made");
        for (name, text) in [
            ("admin/MERGE_HEAD", id("1")),
            ("admin/logs/refs/heads/x", format!("{} {} me", id("2"), id("3"))),
            ("admin/index", id("4")),
            ("admin/modules/x/HEAD", id("5")),
            ("outside", id("6")),
        ] {
            fs_err::write(folder.path().join(name), text).expect("written");
        }
        std::os::unix::fs::symlink(outside, admin.join("ORIG_HEAD")).expect("a link");
        let mut needs = Needs::default();
        needs.read_administration(&admin, DEPTH).expect("the files about the worktree are readable");
        assert_eq!(needs.ids, BTreeSet::from([id("1"), id("2"), id("3")]));
        needs.read(&folder.path().join("nothing")).expect("a missing file is fine");
    }
}
