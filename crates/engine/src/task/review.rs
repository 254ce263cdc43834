//! The changes of a task, for review: all of them, those of one run, or those since the last review. Only commits of the mirror
//! are compared, never a worktree. The only recorded state is the commit up to which somebody has reviewed.

use std::ops::Range;

use durable::blocking;
use git::{ChangedFile, Content, DiffError, Listing, Mirror, Reading, Standing, Whitespace, note_other_content};
use model::ErrorCode;
use model::diff::{Diff, Picture, PictureKind};
use model::ids::{ObjectId, RunNumber};
use model::problem::Problem;
use model::visible::path_key;

use super::tasks::{TaskSlot, Tasks};

/// The maximum size of a patch in bytes. Use git to read a larger patch.
const PATCH_LIMIT_BYTES: usize = 64 * 1024 * 1024;

/// The maximum size of an image in bytes.
const IMAGE_LIMIT_BYTES: usize = 10 * 1024 * 1024;

/// A selection of a task's changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Changes {
    /// Everything since the task started.
    #[default]
    All,
    /// The changes of one run.
    Run(RunNumber),
    /// Everything since the changes were last marked as viewed, or all changes if they never were.
    SinceViewed,
}

/// The part of the changes to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReviewPart {
    /// A page of files, counted from 0.
    Page(usize),
    /// The page that contains a file, by the file's key (`model::visible::path_key`).
    PageOf(String),
    /// A single file, by its key.
    File(String),
}

/// A page of changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Review {
    /// The files of the page.
    pub diff: Diff,
    /// The number of the page, counted from 0.
    pub page: usize,
    /// The number of pages.
    pub pages: usize,
    /// The number of changed files in total.
    pub files: usize,
}

/// Selects the old or new content of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureSide {
    /// The old content.
    Old,
    /// The new content.
    New,
}

/// How much of a task's changes has been reviewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReviewState {
    /// The tip of the branch, or `None` before there is a branch.
    pub head: Option<ObjectId>,
    /// The tip of the branch when its changes were marked as viewed, and its relation to the current branch.
    pub viewed: Option<(ObjectId, Standing)>,
}

impl Tasks {
    pub(crate) async fn review_state(&self, slot: &TaskSlot) -> Result<ReviewState, Problem> {
        let head = slot.record().head().cloned();
        let (home, id) = (std::sync::Arc::clone(&self.home), slot.id);
        let viewed = blocking(move || home.read_reviewed(id)).await?;
        let viewed = match (viewed, &head) {
            (Some(commit), Some(head)) => {
                let standing =
                    self.mirror_to_compare(slot)?.standing(&commit, head).await.map_err(|error| unreadable(&error.into()))?;
                Some((commit, standing))
            }
            _ => None,
        };
        Ok(ReviewState { head, viewed })
    }

    /// Records that everything up to a commit was reviewed. Rejects a commit that was never the tip of the task's branch.
    pub(crate) async fn mark_viewed(&self, slot: &TaskSlot, commit: &str) -> Result<(), Problem> {
        let refused =
            || Problem::new(ErrorCode::CommitUnknown, "the commit is not on this task's branch").hint("reload the page");
        let commit: ObjectId = commit.parse().map_err(|_| refused())?;
        let task = slot.record();
        let runs = task.runs.iter().filter_map(|run| run.end()?.commit.as_ref());
        let updates = task.updates.iter().flat_map(|update| [&update.from_base, &update.to_head]);
        if !runs.chain(updates).chain(&task.base_sha).any(|known| *known == commit) {
            return Err(refused());
        }
        let (home, id) = (std::sync::Arc::clone(&self.home), slot.id);
        Ok(blocking(move || home.write_reviewed(id, &commit)).await?)
    }

    /// Returns the commits to compare, or `None` if there is nothing to compare yet.
    async fn ends(&self, slot: &TaskSlot, changes: Changes) -> Result<Option<(ObjectId, ObjectId)>, Problem> {
        let task = slot.record();
        let (from, to) = match changes {
            Changes::All => (task.base_sha.clone(), task.head().cloned()),
            Changes::Run(number) => {
                self.journal(slot, number)?;
                let commit = task.run(number).and_then(|run| run.end()?.commit.clone());
                (task.head_before(number).cloned(), commit)
            }
            Changes::SinceViewed => {
                let state = self.review_state(slot).await?;
                let there = state.viewed.filter(|(_, standing)| *standing != Standing::Gone).map(|(commit, _)| commit);
                (there.or_else(|| task.base_sha.clone()), state.head)
            }
        };
        Ok(from.zip(to))
    }

    /// Returns the complete changes as a patch for `git apply`.
    pub(crate) async fn patch(&self, slot: &TaskSlot, changes: Changes) -> Result<Vec<u8>, Problem> {
        let Some((from, to)) = self.ends(slot, changes).await? else { return Ok(vec![]) };
        let mirror = self.mirror_to_compare(slot)?;
        mirror.patch(&from, &to, PATCH_LIMIT_BYTES).await.map_err(|error| {
            unreadable(&error)
                .hint(format!("run git in the mirror yourself: git --git-dir {} diff {from} {to}", mirror.path().display()))
        })
    }

    /// Returns all changes, with as many lines as a response may contain.
    pub(crate) async fn diff(&self, slot: &TaskSlot, changes: Changes) -> Result<Diff, Problem> {
        let Some((from, to)) = self.ends(slot, changes).await? else { return Ok(Diff::default()) };
        let mirror = self.mirror_to_compare(slot)?;
        let (listing, mut diff) = mirror.compare_all(&from, &to, Whitespace::Counts).await.map_err(|error| unreadable(&error))?;
        self.note_worktree(slot, &to, &listing, &mut diff).await;
        Ok(diff)
    }

    /// Returns a part of the changes.
    pub(crate) async fn review(
        &self,
        slot: &TaskSlot,
        changes: Changes,
        part: &ReviewPart,
        reading: Reading,
    ) -> Result<Review, Problem> {
        let Some((from, to)) = self.ends(slot, changes).await? else { return Ok(Review::default()) };
        let mirror = self.mirror_to_compare(slot)?;
        let listing = mirror.changed_files(&from, &to).await.map_err(|error| unreadable(&error))?;
        let part = part.clone();
        let (listing, pages, chosen) = blocking(move || {
            let pages = listing.pages();
            let chosen = chosen(&listing, &pages, &part);
            (listing, pages.len(), chosen)
        })
        .await;
        let Some((page, range)) = chosen else {
            return Ok(Review { pages, files: listing.files.len(), ..Review::default() });
        };
        let mut diff = mirror.compare((&from, &to), &listing, range, reading).await.map_err(|error| unreadable(&error))?;
        self.note_worktree(slot, &to, &listing, &mut diff).await;
        Ok(Review { diff, page, pages, files: listing.files.len() })
    }

    /// Marks the files of the diff that differ in the task's worktree. Does nothing during a run, which changes the worktree.
    async fn note_worktree(&self, slot: &TaskSlot, to: &ObjectId, listing: &Listing, diff: &mut Diff) {
        let task = slot.record();
        if task.head() != Some(to) || task.last_run().is_active() {
            return;
        }
        let (tree, listing) = (self.home.layout.worktree(slot.id), listing.clone());
        let mut files = std::mem::take(&mut diff.files);
        let noted;
        (files, noted) = blocking(move || {
            let noted = note_other_content(&tree, &listing, &mut files);
            (files, noted)
        })
        .await;
        diff.files = files;
        if let Err(error) = noted {
            tracing::warn!(task = %slot.id, %error, "could not compare a worktree with its commit");
        }
    }

    /// Returns the changed images, with their sizes.
    pub(crate) async fn changed_pictures(&self, slot: &TaskSlot, changes: Changes) -> Result<Vec<Picture>, Problem> {
        let Some((from, to)) = self.ends(slot, changes).await? else { return Ok(vec![]) };
        let mirror = self.mirror_to_compare(slot)?;
        let listing = mirror.changed_files(&from, &to).await.map_err(|error| unreadable(&error))?;
        let bytes = |content: Option<&Content>| content.filter(|content| content.is_file())?.bytes;
        let picture = move |file: &ChangedFile| Picture {
            path: path_key(&file.path),
            old_bytes: bytes(file.old.as_ref()),
            new_bytes: bytes(file.new.as_ref()),
        };
        let is_picture = |picture: &Picture| PictureKind::of_name(&picture.path).is_some();
        Ok(blocking(move || listing.files.iter().map(picture).filter(is_picture).collect()).await)
    }

    /// Returns the old or new content of a changed image, by the key of its path.
    pub(crate) async fn changed_picture(
        &self,
        slot: &TaskSlot,
        changes: Changes,
        key: &str,
        side: PictureSide,
    ) -> Result<(PictureKind, Vec<u8>), Problem> {
        let absent = || Problem::new(ErrorCode::ImageNotFound, "image not found in these changes");
        let (from, to) = self.ends(slot, changes).await?.ok_or_else(absent)?;
        let mirror = self.mirror_to_compare(slot)?;
        let listing = mirror.changed_files(&from, &to).await.map_err(|error| unreadable(&error))?;
        let key = key.to_owned();
        let found = blocking(move || listing.files.into_iter().find(|file| path_key(&file.path) == key)).await;
        let found = found.ok_or_else(absent)?;
        let content = if side == PictureSide::Old { found.old } else { found.new };
        let content = content.filter(Content::is_file).ok_or_else(absent)?;
        let bytes = mirror.content(&content.id, IMAGE_LIMIT_BYTES).await.map_err(|error| unreadable(&error))?;
        Ok((PictureKind::of_content(&bytes).ok_or_else(absent)?, bytes))
    }

    fn mirror_to_compare(&self, slot: &TaskSlot) -> Result<Mirror, Problem> {
        self.environments
            .mirror_of(slot.env_id)
            .map_err(|error| Problem::new(ErrorCode::MirrorMissing, error.message).hint("add the repository again"))
    }
}

/// Returns the requested page and files, or `None` if they do not exist.
fn chosen(listing: &Listing, pages: &[Range<usize>], part: &ReviewPart) -> Option<(usize, Range<usize>)> {
    let at = |key: &String| listing.files.iter().position(|file| path_key(&file.path) == *key);
    let page_of = |at: usize| pages.iter().position(|page| page.contains(&at));
    match part {
        ReviewPart::Page(page) => pages.get(*page).map(|range| (*page, range.clone())),
        ReviewPart::PageOf(key) => page_of(at(key)?).map(|page| (page, pages[page].clone())),
        ReviewPart::File(key) => at(key).and_then(|at| Some((page_of(at)?, at..at + 1))),
    }
}

fn unreadable(error: &DiffError) -> Problem {
    Problem::new(ErrorCode::DiffUnavailable, error.to_string())
}
