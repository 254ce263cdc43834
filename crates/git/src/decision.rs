//! The decision what a run's commit omits. It is made once and stored, so that a commit that is repeated after a kill omits the same
//! files.
//!
//! Nothing is decided here: the rules are in the crate `model`. Invariant: a stored decision is never replaced by another one.

use std::io::{self, Read as _};
use std::path::Path;

use model::commit::{Choices, INVENTORY_LIMIT_BYTES, Inventory, InventoryError, Selection, TooManyFiles, select};
use secret_forms::SecretSearch;

use super::plain_file::plain_file;
use super::secrets::files_with_secrets;

/// Where a decision is stored, and what it depends on.
#[derive(Debug, Clone, Copy)]
pub struct Decision<'a> {
    /// The file with the decision. Each run has its own. Without a file, the decision is not stored.
    pub file: Option<&'a Path>,
    /// The limits of the repository, and what people decided.
    pub choices: &'a Choices,
    /// The secrets that no file of the commit may contain, unless people decided so.
    pub secrets: Option<&'a SecretSearch>,
}

/// Why nothing was decided.
#[derive(Debug, thiserror::Error)]
pub enum DecisionError {
    /// The files beyond the limits are in too many places.
    #[error(transparent)]
    TooMany(#[from] TooManyFiles),
    /// The container's list of files is not valid.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// The decision could not be read or written.
    #[error("could not store what a commit omits: {0}")]
    Files(#[from] io::Error),
}

impl Decision<'_> {
    /// Returns the stored decision.
    pub fn stored(&self) -> io::Result<Option<Selection>> {
        let Some(file) = self.file else { return Ok(None) };
        match fs_err::read(file) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Decides about files of a worktree, unless this was done before, and stores the decision.
    pub fn make(&self, mut inventory: Inventory, worktree: &Path) -> Result<Selection, DecisionError> {
        if let Some(stored) = self.stored()? {
            return Ok(stored);
        }
        let mut selection = select(&inventory, self.choices)?;
        if let Some(search) = self.secrets {
            inventory.with_secrets = files_with_secrets(search, worktree, &selection.committed(&inventory))?;
            if !inventory.with_secrets.is_empty() {
                selection = select(&inventory, self.choices)?;
            }
        }
        if let Some(file) = self.file {
            let bytes = serde_json::to_vec(&selection).map_err(io::Error::from)?;
            durable::write_atomically(file, &bytes)?;
        }
        Ok(selection)
    }

    /// Decides about the files of a worktree that an export container listed in its output folder, unless this was done before.
    pub fn make_for_export(&self, out: &Path, worktree: &Path) -> Result<Selection, DecisionError> {
        let file = plain_file(&out.join("inventory"))?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let mut list = Vec::new();
        file.take(INVENTORY_LIMIT_BYTES).read_to_end(&mut list)?;
        self.make(Inventory::parse(&list)?, worktree)
    }

    /// Whether every file must be looked at, because the limits alone do not decide.
    pub fn has_choices(&self) -> bool {
        let Choices { limits: _, placed, commit, ignore, held } = self.choices;
        self.secrets.is_some() || ![placed, commit, ignore, held].iter().all(|paths| paths.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use model::commit::{FileState, FoundFile, Limits};

    use super::*;

    #[test]
    fn a_decision_is_made_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let choices = Choices { limits: Limits { files: 0, ..Limits::MOST }, ..Choices::default() };
        let file = folder.path().join("decision");
        let decision = Decision { file: Some(&file), choices: &choices, secrets: None };
        assert_eq!(decision.stored().expect("readable"), None);
        let found = |name: &str| Inventory {
            files: vec![FoundFile { path: name.as_bytes().to_vec(), size: 1, state: FileState::New }],
            ..Inventory::default()
        };
        let first = decision.make(found("a"), folder.path()).expect("decided");
        assert_eq!(first.paths().map(ToString::to_string).collect::<Vec<_>>(), ["a"]);
        assert_eq!(decision.make(found("b"), folder.path()).expect("stored"), first);
        assert_eq!(decision.stored().expect("readable"), Some(first));
    }

    #[test]
    fn a_damaged_decision_is_not_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("decision");
        fs_err::write(&file, "{").expect("writable");
        let choices = Choices::default();
        let decision = Decision { file: Some(&file), choices: &choices, secrets: None };
        assert!(matches!(decision.make(Inventory::default(), folder.path()), Err(DecisionError::Files(_))));
        assert_eq!(fs_err::read_to_string(&file).expect("readable"), "{");
    }
}
