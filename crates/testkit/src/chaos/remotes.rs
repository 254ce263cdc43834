//! The program between git and the remotes of a test, which can hang or disconnect.
//!
//! Every fetch of the home's server starts it, so its behavior changes while the server runs.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::TestHome;

/// The program that every fetch starts on the remote side. The file `manner` tells it to work normally, to hang, or to stop after some
/// bytes.
const UPLOAD_PACK: &str = r#"#!/bin/sh
here=$(dirname "$0")
read -r manner bytes < "$here/manner"
case $manner in
  hangs) while :; do sleep 1; done ;;
  breaks) git-upload-pack "$@" | head -c "$bytes"; exit 1 ;;
esac
exec git-upload-pack "$@"
"#;

/// The program that controls how the remotes of a home answer.
pub(super) struct Remotes {
    folder: PathBuf,
    pub(super) is_bad: bool,
}

impl Remotes {
    /// Writes the program and configures git to use it, before the server starts.
    pub(super) fn begin(home: &TestHome) -> Self {
        let folder = home.scratch().join("remotes");
        fs_err::create_dir(&folder).expect("the test's folder can be written");
        let this = Self { folder, is_bad: false };
        fs_err::write(this.program(), UPLOAD_PACK).expect("the test's folder can be written");
        let executable = std::fs::Permissions::from_mode(0o755);
        fs_err::set_permissions(this.program(), executable).expect("the file belongs to the test");
        this.behave("well");
        let config = format!("[remote \"origin\"]\n\tuploadpack = {}\n", this.program().display());
        fs_err::write(home.scratch().join("user/.gitconfig"), config).expect("the test's folder can be written");
        this
    }

    /// Returns the path of the program between git and the repositories.
    pub(super) fn program(&self) -> PathBuf {
        self.folder.join("upload-pack")
    }

    /// Tells the program how to behave. The file is replaced atomically, because a fetch may start at any moment.
    pub(super) fn behave(&self, manner: &str) {
        let next = self.folder.join("next");
        fs_err::write(&next, format!("{manner}\n")).expect("the test's folder can be written");
        fs_err::rename(next, self.folder.join("manner")).expect("the file belongs to the test");
    }
}
