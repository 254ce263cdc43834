//! The agent's own repository: what a container sees instead of the mirror.
//!
//! It is made of files alone: no git of this machine ever runs in it, nor reads it, since from the first run on an agent writes
//! in it. It borrows the mirror's objects under the path that the container sees them at. Before each later run it is renewed: the
//! agent's commits stay, and its configuration, hooks and everything else that git obeys are as they were made. Invariant: it
//! appears under its name only when it is complete.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use model::ids::ObjectId;

use super::admin::free_name;
use super::mirror::is_task_branch;
use super::program::{Place, answer, branch_ref, with_suffix};
use super::remove_tree::{RemoveTreeError, remove_tree, remove_tree_aside};
use super::snapshot::Signature;
use super::staging::{copy_index, plain_file};
use super::worktree::Worktree;
use crate::durable;
use crate::exec::RunProgramError;
use crate::store::atomic::write_atomically;

/// Where the remote's branches are in the agent's repository.
const ORIGIN: &str = "refs/remotes/origin/";

/// The list of the mirror's objects that an agent's repository was made with, beside it, where no agent can write. The mirror
/// keeps them for as long as the list is there, even if its own branches and tags move on.
pub(crate) const BORROWED: &str = ".borrowed";

/// The agent's repository as it should be.
#[derive(Debug, Clone, Copy)]
pub struct TwinSpec<'a> {
    /// Where. The folder it is in must be there, and be one that no agent can write.
    pub path: &'a Path,
    /// Under which name the mirror keeps the commit that the task was made from: the task's id.
    pub keep_base_as: &'a str,
    /// Where the container sees the mirror's objects.
    pub objects_inside: &'a str,
    /// What `origin` is, for the agent to read. It must carry no password.
    pub origin_url: &'a str,
    /// Who the agent's own commits are by.
    pub author: &'a Signature,
}

/// The agent's repository could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TwinError {
    /// The mirror borrows objects itself, from where a container could not see them.
    #[error("the mirror {mirror} borrows objects of another repository, which a container would not see")]
    MirrorBorrows {
        /// The mirror.
        mirror: String,
    },
    /// Something else has its name.
    #[error("{path} is in the way of the agent's repository")]
    InTheWay {
        /// What is there.
        path: String,
    },
    /// Git could not say what is in the mirror.
    #[error(transparent)]
    Program(#[from] RunProgramError),
    /// Files could not be written.
    #[error("could not make the agent's repository: {0}")]
    Files(#[from] io::Error),
    /// The rest of an earlier attempt could not be removed.
    #[error(transparent)]
    Remove(#[from] RemoveTreeError),
}

impl Worktree {
    /// Makes sure that the agent has its own repository, on the task's branch. For before a run in a container.
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

    /// Makes sure that the agent has its own repository, and that of an earlier run nothing is left in it but objects, refs and logs. For
    /// before a run in a container, when no process of the task runs.
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

    /// Puts an agent's repository aside that is of no use any more, under a new name beside it, which is returned. None if there
    /// is none. Its work is kept for a person to look into.
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

    /// Keeps the commit that the task was made from in the mirror, whatever becomes of the remote's branches.
    async fn keep_base(&self, name: &str) -> Result<(), RunProgramError> {
        let command = self.mirror.git().command(Place::Mirror(self.mirror.path())).arg("update-ref");
        command.args([base_ref(name).as_str(), self.base.as_str()]).run_ok().await?;
        Ok(())
    }

    /// What the repository consists of, beside the index; and the ids of the mirror's objects that its refs name.
    async fn twin_files(&self, spec: &TwinSpec<'_>) -> Result<(TwinFiles, BTreeSet<String>), TwinError> {
        let mirror = self.mirror.path();
        if read_if_there(&mirror.join("objects/info/alternates"))?.is_some_and(|borrowed| !borrowed.trim_ascii().is_empty()) {
            return Err(TwinError::MirrorBorrows { mirror: mirror.display().to_string() });
        }
        let branch = branch_ref(&self.branch);
        let listed = self.mirror.git().command(Place::Mirror(mirror)).arg("for-each-ref");
        let listed = answer(listed.args(["--format=%(objectname) %(refname)", "refs/heads/", "refs/tags/"])).await?;
        let refs = Refs::read(&listed, &branch);
        let tip = refs.tip.unwrap_or_else(|| self.base.to_string());
        let mut borrowed = BTreeSet::from([tip.clone(), self.base.to_string()]);
        borrowed.extend(refs.packed.lines().skip(1).filter_map(|line| Some(line.split_once(' ')?.0.to_owned())));
        let mut files = TwinFiles(vec![
            ("HEAD".to_owned(), format!("ref: {branch}\n").into_bytes()),
            ("config".to_owned(), config(spec, self.base.as_str().len()).into_bytes()),
            ("info/exclude".to_owned(), Vec::new()),
            ("objects/info/alternates".to_owned(), format!("{}\n", spec.objects_inside).into_bytes()),
            (branch, format!("{tip}\n").into_bytes()),
            ("packed-refs".to_owned(), refs.packed.into_bytes()),
        ]);
        // A branch of the remote may have this very name, and nothing can be beside it then.
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

/// Files below a folder, by the path from there.
struct TwinFiles(Vec<(String, Vec<u8>)>);

/// What the mirror has, as the agent sees it.
struct Refs {
    /// The remote's branches and the tags, as `packed-refs` has them.
    packed: String,
    /// The commit of the task's branch.
    tip: Option<String>,
    /// Whether the remote has a branch where git keeps the name of the default one.
    has_head: bool,
}

impl Refs {
    /// Reads `id ref` lines.
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

/// The name under which a mirror keeps what a task was made from.
pub(super) fn base_ref(name: &str) -> String {
    format!("refs/orchestrator/base/{name}")
}

/// The agent's configuration, to begin with. Nothing of it holds on this machine.
fn config(spec: &TwinSpec<'_>, digits: usize) -> String {
    let (version, extensions) = if digits == 64 { (1, "[extensions]\n\tobjectformat = sha256\n") } else { (0, "") };
    let (name, email, url) = (quoted(&spec.author.name), quoted(&spec.author.email), quoted(spec.origin_url));
    format!(
        "[core]\n\trepositoryformatversion = {version}\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n{extensions}\
         [gc]\n\tauto = 0\n[user]\n\tname = {name}\n\temail = {email}\n\
         [remote \"origin\"]\n\turl = {url}\n\tfetch = +refs/heads/*:{ORIGIN}*\n"
    )
}

/// A value as git's configuration files take it.
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

/// Adds ids to the list, whole and synced. An earlier repository of the task may have been put aside, so its ids stay.
fn add_to_list(list: &Path, mut ids: BTreeSet<String>) -> io::Result<()> {
    let known = read_if_there(list)?.unwrap_or_default();
    ids.extend(String::from_utf8_lossy(&known).lines().map(str::to_owned));
    let lines: Vec<u8> = ids.iter().flat_map(|id| [id.as_bytes(), b"\n"].concat()).collect();
    write_atomically(list, &lines)
}

/// What of an agent's repository stays from one run to the next: what git reads as data.
const KEPT_FOLDERS: [&str; 4] = ["objects", "refs", "logs", "lfs"];

/// The same, of files.
const KEPT_FILES: [&str; 2] = ["HEAD", "packed-refs"];

/// More than a HEAD has.
const HEAD_LIMIT_BYTES: u64 = 1024;

/// Takes away what is not kept, and writes what git obeys. Doing it twice is harmless, and so is stopping halfway.
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
    // Alternates, grafts of old kinds, and indexes of packs that git would believe.
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

/// Writes all of it beside its place, puts it on the disk and moves it there.
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
