//! A folder of GPG with keys that only a test knows. Its agent is ended when its value is dropped.
//!
//! No pinentry asks for a passphrase, so a key with a passphrase cannot be used by a program that does not know it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// The user ID of every key.
const USER: &str = "Ada <ada@example.org>";

/// The options for a key that a program can use without asking.
pub const USABLE: &[&str] = &["--passphrase", ""];

/// The options for a key that is protected with a passphrase.
pub const WITH_PASSPHRASE: &[&str] = &["--passphrase", "correct horse"];

/// The options for a key that expired in 2020.
pub const EXPIRED: &[&str] = &["--passphrase", "", "--faked-system-time", "20200101T000000"];

/// A folder for `GNUPGHOME`.
#[derive(Debug)]
pub struct GpgHome {
    folder: TempDir,
}

impl Default for GpgHome {
    fn default() -> Self {
        Self::new()
    }
}

impl GpgHome {
    /// Creates a home without keys.
    ///
    /// # Panics
    /// If no temporary folder can be written.
    pub fn new() -> Self {
        // GPG warns about a folder that others can read.
        let mode = std::fs::Permissions::from_mode(0o700);
        let folder =
            tempfile::Builder::new().prefix("gpg-").permissions(mode).tempdir().expect("a temporary folder can be created");
        fs_err::write(folder.path().join("gpg-agent.conf"), "pinentry-program /bin/false\n")
            .expect("a new folder can be written");
        Self { folder }
    }

    /// Returns the path.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Creates a key that signs, and returns its fingerprint. An expired key is valid for one day.
    ///
    /// # Panics
    /// If `gpg` is missing or fails.
    pub fn key(&self, options: &[&str]) -> String {
        let mut command = self.command("gpg");
        command.args(["--batch", "--yes", "--status-fd", "1", "--pinentry-mode", "loopback"]).args(options);
        let expires = if options == EXPIRED { "1d" } else { "never" };
        let done = done(command.args(["--quick-generate-key", USER, "ed25519", "sign", expires]));
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        let created = said.lines().find_map(|line| line.strip_prefix("[GNUPG:] KEY_CREATED P "));
        created.unwrap_or_else(|| panic!("gpg names the new key: {said}")).to_owned()
    }

    /// Ends what knows the passphrases of keys that were just created, so that the next program has to ask.
    pub fn forget_passphrases(&self) {
        self.end_programs();
    }

    /// Verifies the signature of a commit with git. Returns git's verdict, the signer and the fingerprint of the key.
    ///
    /// # Panics
    /// If the signature is not good.
    pub fn verify(&self, repository: &Path, commit: &str) -> String {
        let git = |arguments: &[&str]| {
            let mut command = self.command("git");
            command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null").arg("-C").arg(repository);
            let done = done(command.args(arguments).arg(commit));
            assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
            String::from_utf8_lossy(&done.stdout).trim().to_owned()
        };
        git(&["verify-commit"]);
        git(&["show", "--no-patch", "--format=%G? %GS %GF"])
    }

    /// Returns what [`verify`](Self::verify) answers for a commit that this key signed.
    pub fn signed_by(fingerprint: &str) -> String {
        format!("G {USER} {fingerprint}")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("GNUPGHOME", self.path());
        command
    }

    fn end_programs(&self) {
        let ended = self.command("gpgconf").args(["--kill", "all"]).stdin(Stdio::null()).output();
        assert!(std::thread::panicking() || ended.is_ok_and(|done| done.status.success()), "the agent of GPG ends");
    }
}

impl Drop for GpgHome {
    fn drop(&mut self) {
        self.end_programs();
        // The sockets may be elsewhere, if this user has a runtime folder.
        drop(self.command("gpgconf").arg("--remove-socketdir").stdin(Stdio::null()).output());
    }
}

fn done(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("could not start {command:?}: {error}"))
}
