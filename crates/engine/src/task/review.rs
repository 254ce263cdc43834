//! What a task changed, for whoever looks at it: all of it, one run's part, or what came since somebody looked last.
//! Compared are commits of the mirror, never a worktree. What is written down here is only up to where somebody looked.

use model::diff::{Picture, PictureKind};
use model::ids::{ObjectId, RunNumber};
use model::problem::{Problem, ProblemKind};

use super::TaskSlot;
use crate::engine::{Inner, blocking};
use crate::git::{ChangedContent, DiffError, Mirror, Standing, Whitespace};

/// The largest patch that is answered; a larger one is read with git itself.
const PATCH_LIMIT_BYTES: usize = 64 * 1024 * 1024;

/// The largest picture that is answered.
const IMAGE_LIMIT_BYTES: usize = 10 * 1024 * 1024;

/// Which of a task's changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Changes {
    /// Everything since the task began.
    #[default]
    All,
    /// What one run did.
    Run(RunNumber),
    /// What came since they were marked as viewed last; everything, if they never were.
    SinceViewed,
}

/// Which of a file's two contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureSide {
    /// What it held.
    Old,
    /// What it holds.
    New,
}

/// How far a task's changes were looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReviewState {
    /// What the branch stands at; none before there is a branch.
    pub head: Option<ObjectId>,
    /// Where the branch stood when its changes were marked as viewed, and where that is as seen from today's branch.
    pub viewed: Option<(ObjectId, Standing)>,
}

impl Inner {
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

    /// A commit that this task's branch never stood at is not taken.
    pub(crate) async fn mark_viewed(&self, slot: &TaskSlot, commit: &str) -> Result<(), Problem> {
        let refused = || {
            Problem::new(ProblemKind::Unusable, "commit_unknown", "what was looked at is not a commit of this task's branch")
                .hint("load the page anew")
        };
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

    /// The commits between which something changed; none where there is nothing to compare yet.
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

    /// What changed, between commits of the mirror, as a patch.
    pub(crate) async fn patch(&self, slot: &TaskSlot, changes: Changes, whitespace: Whitespace) -> Result<Vec<u8>, Problem> {
        let Some((from, to)) = self.ends(slot, changes).await? else { return Ok(vec![]) };
        let mirror = self.mirror_to_compare(slot)?;
        mirror.patch(&from, &to, whitespace, PATCH_LIMIT_BYTES).await.map_err(|error| {
            unreadable(&error)
                .hint(format!("look at it in the mirror: git --git-dir {} diff {from} {to}", mirror.path().display()))
        })
    }

    /// The contents of the files that changed, with their sizes.
    pub(crate) async fn changed_pictures(&self, slot: &TaskSlot, changes: Changes) -> Result<Vec<Picture>, Problem> {
        let Some((from, to)) = self.ends(slot, changes).await? else { return Ok(vec![]) };
        let mirror = self.mirror_to_compare(slot)?;
        let contents = mirror.changed_contents(&from, &to).await.map_err(|error| unreadable(&error))?;
        let contents: Vec<_> = contents.into_iter().filter(|found| PictureKind::of_name(&found.path).is_some()).collect();
        let ids: Vec<_> = contents.iter().flat_map(|found| [&found.old, &found.new]).flatten().cloned().collect();
        if ids.is_empty() {
            return Ok(vec![]);
        }
        let sizes = mirror.content_sizes(&ids).await.map_err(|error| unreadable(&error.into()))?;
        let size = |id: Option<&ObjectId>| sizes.get(ids.iter().position(|found| Some(found) == id)?).copied().flatten();
        let image = |found: &ChangedContent| Picture {
            path: found.path.clone(),
            old_bytes: size(found.old.as_ref()),
            new_bytes: size(found.new.as_ref()),
        };
        Ok(contents.iter().map(image).collect())
    }

    /// A picture that a difference names, and nothing else.
    pub(crate) async fn changed_picture(
        &self,
        slot: &TaskSlot,
        changes: Changes,
        path: &str,
        side: PictureSide,
    ) -> Result<(PictureKind, Vec<u8>), Problem> {
        let absent = || Problem::new(ProblemKind::NotFound, "image_not_found", "there is no such picture among these changes");
        let (from, to) = self.ends(slot, changes).await?.ok_or_else(absent)?;
        let mirror = self.mirror_to_compare(slot)?;
        let contents = mirror.changed_contents(&from, &to).await.map_err(|error| unreadable(&error))?;
        let found = contents.into_iter().find(|found| found.path == path).ok_or_else(absent)?;
        let id = if side == PictureSide::Old { found.old } else { found.new };
        let bytes = mirror.content(&id.ok_or_else(absent)?, IMAGE_LIMIT_BYTES).await.map_err(|error| unreadable(&error))?;
        Ok((PictureKind::of_content(&bytes).ok_or_else(absent)?, bytes))
    }

    fn mirror_to_compare(&self, slot: &TaskSlot) -> Result<Mirror, Problem> {
        self.mirror_of(slot.env_id).map_err(|error| {
            Problem::new(ProblemKind::Unavailable, "mirror_missing", error.message).hint("add the environment again")
        })
    }
}

fn unreadable(error: &DiffError) -> Problem {
    Problem::new(ProblemKind::Unusable, "diff_unavailable", error.to_string())
}
