//! Signs the commit of a run with a key of the server's user, after the commit was imported or made.
//!
//! The signing program gets the raw commit and nothing else: no configuration of a repository names the program, the key or an
//! option. Invariant: a signed commit differs from the unsigned one only in its signature.

use std::path::Path;
use std::time::Duration;

use model::commit::SigningKey;
use model::ids::ObjectId;
use process::{CommandSpec, Stdin, Stdout, Tool};

use super::commit_object::CommitObject;
use super::mirror::Mirror;
use super::program::{Git, GitDir, answer};
use super::sign_error::SignError;

/// The time limit of a signature. A program that waits for a passphrase or a hardware key is ended.
const LIMIT: Duration = Duration::from_secs(30);

/// The maximum size of a commit or a signature in bytes.
const SIZE_LIMIT_BYTES: usize = 4 << 20;

impl Mirror {
    /// Writes a copy of a commit with a signature, and returns its ID.
    pub(super) async fn signed(&self, commit: &ObjectId, key: &SigningKey) -> Result<ObjectId, SignError> {
        let malformed = || SignError::Malformed { commit: commit.clone() };
        let read = self.git().command(GitDir::Mirror(self.path())).args(["cat-file", "commit", commit.as_str()]);
        let bytes = read.stdout(Stdout::Capture { max: SIZE_LIMIT_BYTES }).run_ok().await?.stdout;
        let signature = self.git().signature(&bytes, key).await?;
        let object = CommitObject::parse(bytes).ok_or_else(malformed)?.with_signature(&signature, commit.as_str().len());
        let write = self.git().command(GitDir::Mirror(self.path())).args(["hash-object", "-t", "commit", "-w", "--stdin"]);
        answer(write.stdin(Stdin::Bytes(object.bytes().to_vec()))).await?.parse().map_err(|_| malformed())
    }
}

impl Git {
    /// Signs the bytes of a commit.
    async fn signature(&self, bytes: &[u8], key: &SigningKey) -> Result<String, SignError> {
        let (program, arguments, start) = match key {
            SigningKey::Ssh(path) => {
                ("ssh-keygen", ["-Y", "sign", "-n", "git", "-f", path.as_str()], "-----BEGIN SSH SIGNATURE-----")
            }
            SigningKey::Gpg(id) => (
                "gpg",
                ["--batch", "--no-tty", "--detach-sign", "--armor", "--local-user", id.as_str()],
                "-----BEGIN PGP SIGNATURE-----",
            ),
        };
        let tool = Tool::find(program, self.base())?;
        let command = CommandSpec::new(&tool, self.base(), Path::new("/")).args(arguments);
        let command = command.envs(self.base().with_credentials()).env("SSH_ASKPASS_REQUIRE", "never").deadline(LIMIT);
        let done = command.stdin(Stdin::Bytes(bytes.to_vec())).stdout(Stdout::Capture { max: SIZE_LIMIT_BYTES }).run_ok().await?;
        let signature = done.text().trim().to_owned();
        if signature.starts_with(start) { Ok(signature) } else { Err(SignError::NoSignature { program }) }
    }
}
