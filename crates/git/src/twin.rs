//! The agent repository: what a container sees instead of the mirror.
//!
//! It is written as plain files: git on this machine never runs in it and never reads it, because an agent writes to it from
//! the first run on. It borrows the mirror's objects at the path where the container sees them. Before each later run it is
//! renewed: the agent's commits stay, and its configuration, hooks and everything else that git obeys are written again.
//! Invariant: it appears under its name only when it is complete.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use durable::free_name;
use durable::write_atomically;
use model::ids::ObjectId;
use model::sparse::Cone;
use process::RunProgramError;

use super::makers::Signature;
use super::mirror::{Mirror, is_task_branch};
use super::plain_file::plain_file;
use super::program::{GitDir, answer, branch_ref, with_suffix};
use super::remove_tree::{RemoveTreeError, remove_tree, remove_tree_aside};
use super::sparse;
use super::trusted_index::copy_index;
use super::worktree::Worktree;

/// The prefix of the remote's branches in the agent repository.
const ORIGIN: &str = "refs/remotes/origin/";

/// The suffix of the list of the mirror's objects that an agent repository was created with. The list is stored next to the
/// repository, where no agent can write. The mirror keeps the objects as long as the list exists, even if its own branches and
/// tags move.
pub const BORROWED: &str = ".borrowed";

/// The desired state of an agent repository.
#[derive(Debug, Clone, Copy)]
pub struct TwinSpec<'a> {
    /// The path. The parent folder must exist, and agents must not be able to write to it.
    pub path: &'a Path,
    /// The name under which the mirror keeps the task's start commit: the ID of the task.
    pub keep_base_as: &'a str,
    /// The path of the mirror's objects in the container.
    pub objects_inside: &'a str,
    /// The URL of `origin` that the agent sees. It must not contain a password.
    pub origin_url: &'a str,
    /// The author of the agent's own commits.
    pub author: &'a Signature,
}

/// Why the agent repository could not be created.
#[derive(Debug, thiserror::Error)]
pub enum TwinError {
    /// The mirror itself borrows objects, from a path that a container cannot see.
    #[error("the mirror {mirror} borrows objects from another repository, which a container cannot see")]
    MirrorBorrows {
        /// The mirror.
        mirror: String,
    },
    /// Something other than a folder has the repository's name.
    #[error("cannot create the agent repository: {path} already exists")]
    InTheWay {
        /// The path.
        path: String,
    },
    /// Git could not read the mirror.
    #[error(transparent)]
    Program(#[from] RunProgramError),
    /// Files could not be written.
    #[error("could not create the agent repository: {0}")]
    Files(#[from] io::Error),
    /// Leftovers of an earlier attempt could not be removed.
    #[error(transparent)]
    Remove(#[from] RemoveTreeError),
}

impl Worktree {
    /// Makes sure that the agent repository exists, on the task's branch. Call this before a run in a container.
    pub async fn ensure_twin(&self, spec: TwinSpec<'_>) -> Result<(), TwinError> {
        self.keep_base(spec.keep_base_as).await?;
        match fs_err::symlink_metadata(spec.path) {
            Ok(found) if found.is_dir() => return Ok(()),
            Ok(_) => return Err(TwinError::InTheWay { path: spec.path.display().to_string() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        let partial = with_suffix(spec.path, ".partial");
        remove_tree_aside(partial.clone()).await?;
        let (files, borrowed) = self.twin_files(&spec).await?;
        let list = with_suffix(spec.path, BORROWED);
        let (index, path) = (self.admin.join("index"), spec.path.to_owned());
        let written = tokio::task::spawn_blocking(move || {
            add_to_list(&list, borrowed)?;
            write_completely(&partial, &files, &index, &path)
        });
        let written = written.await;
        Ok(written.map_err(io::Error::other)??)
    }

    /// Makes sure that the agent repository exists and that only objects, refs and logs of earlier runs are left in it. Call
    /// this before a run in a container, while no process of the task runs.
    pub async fn renew_twin(&self, spec: TwinSpec<'_>) -> Result<(), TwinError> {
        if !fs_err::symlink_metadata(spec.path).is_ok_and(|found| found.is_dir()) {
            return self.ensure_twin(spec).await;
        }
        self.keep_base(spec.keep_base_as).await?;
        let (files, borrowed) = self.twin_files(&spec).await?;
        let (list, index, path) = (with_suffix(spec.path, BORROWED), self.admin.join("index"), spec.path.to_owned());
        let renewed = tokio::task::spawn_blocking(move || {
            add_to_list(&list, borrowed)?;
            renew(&path, &files, &index)
        });
        renewed.await.map_err(io::Error::other)?
    }

    /// Renames an unusable agent repository, so that a person can inspect it, and returns its new path. Returns `None` if there
    /// is no repository at `path`.
    pub async fn put_twin_aside(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let path = path.to_owned();
        let moved = tokio::task::spawn_blocking(move || {
            let free = free_name(&with_suffix(&path, ".aside"))?;
            match durable::rename(&path, &free) {
                Ok(()) => Ok(Some(free)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        });
        moved.await.map_err(io::Error::other)?
    }

    /// Keeps the task's start commit in the mirror, whatever happens to the remote's branches.
    async fn keep_base(&self, name: &str) -> Result<(), RunProgramError> {
        let command = self.mirror.git().command(GitDir::Mirror(self.mirror.path())).arg("update-ref");
        command.args([base_ref(name).as_str(), self.base.as_str()]).run_ok().await?;
        Ok(())
    }

    /// Returns the files of the repository, except the index, and the IDs of the mirror's objects that its refs name.
    async fn twin_files(&self, spec: &TwinSpec<'_>) -> Result<(TwinFiles, BTreeSet<String>), TwinError> {
        let mirror = self.mirror.path();
        if read_if_there(&mirror.join("objects/info/alternates"))?.is_some_and(|borrowed| !borrowed.trim_ascii().is_empty()) {
            return Err(TwinError::MirrorBorrows { mirror: mirror.display().to_string() });
        }
        let branch = branch_ref(&self.branch);
        let listed = self.mirror.git().command(GitDir::Mirror(mirror)).arg("for-each-ref");
        let listed = answer(listed.args(["--format=%(objectname) %(refname)", "refs/heads/", "refs/tags/"])).await?;
        let refs = Refs::read(&listed, &branch);
        let tip = refs.tip.unwrap_or_else(|| self.base.to_string());
        let mut borrowed = BTreeSet::from([tip.clone(), self.base.to_string()]);
        borrowed.extend(refs.packed.lines().skip(1).filter_map(|line| Some(line.split_once(' ')?.0.to_owned())));
        let mut files = TwinFiles(vec![
            ("HEAD".to_owned(), format!("ref: {branch}\n").into_bytes()),
            ("config".to_owned(), config(spec, self.base.as_str().len(), &self.cone, &self.mirror).into_bytes()),
            ("info/exclude".to_owned(), Vec::new()),
            ("objects/info/alternates".to_owned(), format!("{}\n", spec.objects_inside).into_bytes()),
            (branch, format!("{tip}\n").into_bytes()),
            ("packed-refs".to_owned(), refs.packed.into_bytes()),
        ]);
        if !self.cone.is_everything() {
            files.0.push((sparse::PATTERNS.to_owned(), self.cone.patterns().into_bytes()));
        }
        // The remote may have a branch named `HEAD` or below `HEAD/`, which needs this name.
        if !refs.has_head {
            let default = self.mirror.default_branch().await?;
            files.0.push((format!("{ORIGIN}HEAD"), format!("ref: {ORIGIN}{default}\n").into_bytes()));
        }
        if let Some(shallow) = read_if_there(&mirror.join("shallow"))? {
            files.0.push(("shallow".into(), shallow));
        }
        Ok((files, borrowed))
    }
}

/// Files in a folder, with their relative paths.
struct TwinFiles(Vec<(String, Vec<u8>)>);

/// The refs of the mirror, as the agent sees them.
struct Refs {
    /// The remote's branches and the tags, in the format of `packed-refs`.
    packed: String,
    /// The commit of the task's branch.
    tip: Option<String>,
    /// Whether the remote has a branch named `HEAD`, where git stores the name of the default branch.
    has_head: bool,
}

impl Refs {
    /// Parses lines of the form `id ref`.
    fn read(listing: &str, branch: &str) -> Self {
        let (mut packed, mut tip, mut has_head) = (Vec::new(), None, false);
        for (id, name) in listing.lines().filter_map(|line| line.split_once(' ')) {
            if name == branch {
                tip = Some(id.to_owned());
            } else if let Some(followed) = name.strip_prefix("refs/heads/").filter(|followed| !is_task_branch(followed)) {
                has_head |= followed == "HEAD" || followed.starts_with("HEAD/");
                packed.push((format!("{ORIGIN}{followed}"), id));
            } else if name.starts_with("refs/tags/") {
                packed.push((name.to_owned(), id));
            }
        }
        packed.sort_unstable();
        let lines = packed.into_iter().map(|(name, id)| format!("{id} {name}\n"));
        Self { packed: std::iter::once("# pack-refs with: sorted \n".to_owned()).chain(lines).collect(), tip, has_head }
    }
}

/// Returns the ref that keeps a task's start commit.
pub(super) fn base_ref(name: &str) -> String {
    format!("refs/orchestrator/base/{name}")
}

/// The remote that an agent repository expects to have the contents that the mirror lacks. Git names it in its errors.
const PROMISOR: &str = "only-the-server-can-fetch";

/// Returns the agent's initial configuration. It has no effect on this machine.
fn config(spec: &TwinSpec<'_>, digits: usize, cone: &Cone, mirror: &Mirror) -> String {
    let mut extensions = String::new();
    if digits == 64 {
        extensions.push_str("\tobjectformat = sha256\n");
    }
    let mut promisor = String::new();
    if mirror.is_partial() {
        extensions = extensions + "\tpartialClone = " + PROMISOR + "\n";
        promisor = format!("[remote \"{PROMISOR}\"]\n\tpromisor = true\n\tpartialclonefilter = blob:none\n");
    }
    let version = u8::from(!extensions.is_empty());
    if version == 1 {
        extensions.insert_str(0, "[extensions]\n");
    }
    let (name, email, url) = (quoted(&spec.author.name), quoted(&spec.author.email), quoted(spec.origin_url));
    let sparse = sparse::settings(cone).into_iter();
    let sparse: Vec<_> = sparse.map(|(name, value)| format!("\t{} = {value}\n", name.trim_start_matches("core."))).collect();
    let sparse = sparse.concat();
    format!(
        "[core]\n\trepositoryformatversion = {version}\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n{sparse}{extensions}\
         [gc]\n\tauto = 0\n[user]\n\tname = {name}\n\temail = {email}\n\
         [remote \"origin\"]\n\turl = {url}\n\tfetch = +refs/heads/*:{ORIGIN}*\n{promisor}"
    )
}

/// Quotes a value for git's configuration files.
fn quoted(value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\t', "\\t");
    format!("\"{escaped}\"")
}

fn read_if_there(file: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs_err::read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

/// Adds IDs to the list and syncs the list. IDs of an earlier repository of the task stay, because that repository may have
/// been put aside.
fn add_to_list(list: &Path, mut ids: BTreeSet<String>) -> io::Result<()> {
    let known = read_if_there(list)?.unwrap_or_default();
    ids.extend(String::from_utf8_lossy(&known).lines().map(str::to_owned));
    let lines: Vec<u8> = ids.iter().flat_map(|id| [id.as_bytes(), b"\n"].concat()).collect();
    write_atomically(list, &lines)
}

/// Folders that stay in an agent repository between runs: git reads their files as data.
const KEPT_FOLDERS: [&str; 4] = ["objects", "refs", "logs", "lfs"];

/// Files that stay in an agent repository between runs.
const KEPT_FILES: [&str; 2] = ["HEAD", "packed-refs"];

/// The maximum size of a HEAD file, in bytes.
const HEAD_LIMIT_BYTES: u64 = 1024;

/// Removes everything that is not kept, and writes the files that git obeys. This can be interrupted at any point and repeated.
fn renew(path: &Path, files: &TwinFiles, index: &Path) -> Result<(), TwinError> {
    for entry in fs_err::read_dir(path)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        let is_one = |names: &[&str]| names.iter().any(|known| name == *known);
        let is_kept = (kind.is_dir() && is_one(&KEPT_FOLDERS)) || (kind.is_file() && is_one(&KEPT_FILES));
        if !is_kept {
            remove_tree(&entry.path())?;
        }
    }
    // This folder can contain alternates, old kinds of grafts, and pack indexes that git would trust.
    remove_tree(&path.join("objects/info"))?;
    let is_missing = |name: &str| fs_err::symlink_metadata(path.join(name)).is_err();
    let (without_refs, without_head) = (is_missing("refs"), !is_sound_head(&path.join("HEAD"))?);
    for folder in ["objects/pack", "refs/heads", "refs/tags"] {
        fs_err::create_dir_all(path.join(folder))?;
    }
    for (name, content) in &files.0 {
        let is_needed = match name.as_str() {
            "HEAD" => without_head,
            "packed-refs" => without_refs || is_missing(name),
            name if name.starts_with("refs/") => without_refs,
            _ => true,
        };
        if is_needed {
            let file = path.join(name);
            fs_err::create_dir_all(file.parent().unwrap_or(path))?;
            write_atomically(&file, content)?;
        }
    }
    copy_index(index, &path.join("index"))?;
    durable::sync_file_if_there(&path.join("index"))?;
    Ok(durable::sync_folder(path)?)
}

/// Whether HEAD names a ref or a commit.
fn is_sound_head(head: &Path) -> io::Result<bool> {
    let Some(file) = plain_file(head)? else { return Ok(false) };
    let mut text = String::new();
    if file.take(HEAD_LIMIT_BYTES).read_to_string(&mut text).is_err() {
        return Ok(false);
    }
    let text = text.trim_end_matches('\n');
    let is_name = |name: &str| !name.contains("..") && name.bytes().all(|byte| byte.is_ascii_graphic());
    Ok(text.parse::<ObjectId>().is_ok()
        || text.strip_prefix("ref: ").is_some_and(|name| name.starts_with("refs/") && is_name(name)))
}

/// Writes the repository next to its final path, syncs it, and moves it there.
fn write_completely(partial: &Path, files: &TwinFiles, index: &Path, path: &Path) -> io::Result<()> {
    for folder in ["objects/pack", "refs/tags"] {
        fs_err::create_dir_all(partial.join(folder))?;
    }
    for (name, content) in &files.0 {
        let file = partial.join(name);
        fs_err::create_dir_all(file.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
        fs_err::File::create_new(file)?.write_all(content)?;
    }
    copy_index(index, &partial.join("index"))?;
    durable::sync_tree(partial)?;
    durable::rename(partial, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remotes_branches_and_tags_are_packed_in_order_and_task_branches_are_not_among_them() {
        let listing = "11 refs/heads/a\n22 refs/heads/codex/one\n33 refs/heads/codex/two\n44 refs/heads/main\n55 refs/tags/v1\n";
        let refs = Refs::read(listing, "refs/heads/codex/one");
        let packed = "# pack-refs with: sorted \n11 refs/remotes/origin/a\n44 refs/remotes/origin/main\n55 refs/tags/v1\n";
        assert_eq!((refs.packed.as_str(), refs.tip.as_deref(), refs.has_head), (packed, Some("22"), false));
        let order = Refs::read("11 refs/heads/z\n22 refs/heads/z-1\n33 refs/heads/z/1\n", "").packed;
        let names: Vec<_> = order.lines().skip(1).filter_map(|line| line.split_once(' ')).map(|(_, name)| name).collect();
        assert!(names.is_sorted(), "{names:?}");
    }

    #[test]
    fn a_branch_that_is_called_head_takes_that_name() {
        assert!(Refs::read("11 refs/heads/HEAD\n", "").has_head && Refs::read("11 refs/heads/HEAD/x\n", "").has_head);
        assert!(!Refs::read("11 refs/heads/HEADLINE\n", "").has_head);
    }

    #[test]
    fn a_value_cannot_end_its_line_or_its_quotes() {
        assert_eq!(quoted("a\"b\\c\nd\te"), r#""a\"b\\c\nd\te""#);
        assert_eq!(quoted("x # y; z"), "\"x # y; z\"");
    }
}
