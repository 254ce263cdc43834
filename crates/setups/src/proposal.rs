//! Proposes a description for a repository that has none.

use std::collections::BTreeMap;

use environment_file::{Proposal, SOURCES, limit_bytes};
use git::Mirror;
use model::ids::ObjectId;
use process::RunProgramError;

/// Returns a description that is derived from the files of a commit, or `None` if there is nothing to set up.
pub(crate) async fn proposal(mirror: &Mirror, commit: &ObjectId) -> Result<Option<Proposal>, RunProgramError> {
    let objects = mirror.objects_at(commit, SOURCES).await?;
    let mut files = BTreeMap::new();
    for (path, _) in SOURCES.iter().zip(objects).filter(|(_, object)| object.is_some()) {
        // Of a file that is not text, or too large, only the existence matters.
        let text = mirror.text_of(commit, path, limit_bytes(path)).await.unwrap_or_default();
        files.insert((*path).to_owned(), text);
    }
    Ok(environment_file::propose(&files))
}
