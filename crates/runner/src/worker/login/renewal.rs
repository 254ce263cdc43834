//! Renews the tokens of an account with Codex itself, without an agent or a task, in a temporary home.
//!
//! A refresh token works only once. Therefore, new tokens are stored before anything else happens, even those of a renewal that
//! was interrupted.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use config::Config;
use durable::blocking;
use jiff::Timestamp;
use process::{CommandSpec, Stdin, Stdout, Tool};
use serde_json::{Value, json};
use store::{CodexHome, LoginCopy, private_folder};

use super::Login;
use crate::worker::{Worker, engine_environment};

/// How long Codex may take to renew the tokens, including the start of a container.
const PATIENCE: Duration = Duration::from_secs(90);

/// The variable with which tests and proxies of the provider redirect the renewal.
const ENDPOINT: &str = "CODEX_REFRESH_TOKEN_URL_OVERRIDE";

/// The ID of the request that renews the tokens.
const QUESTION: u64 = 2;

impl Worker {
    /// Renews the tokens of the login. The error says why they were not renewed.
    pub async fn renew_login(&self, config: &Config, home: &CodexHome) -> Result<(), String> {
        let folder = home.folder().join("renewal");
        let prepared = {
            let (home, folder) = (home.clone(), folder.clone());
            blocking(move || prepare(&home, folder)).await
        };
        let Some(copy) = prepared.map_err(|error| format!("could not create the renewal folder: {error}"))? else {
            return Ok(());
        };
        let asked = self.ask(config, &folder).await;
        let home = home.clone();
        let stored = blocking(move || {
            let stored = Login::renew(&home, &copy, Timestamp::now())?;
            fs_err::remove_dir_all(folder)?;
            Ok::<_, io::Error>(stored)
        });
        match stored.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(asked.err().unwrap_or_else(|| "Codex did not renew the tokens".to_owned())),
            Err(error) => Err(format!("could not store the renewed tokens: {error}")),
        }
    }

    /// Asks Codex to read the account and to renew its tokens. Any response means that Codex has tried this.
    async fn ask(&self, config: &Config, folder: &std::path::Path) -> Result<(), String> {
        let (reader, mut writer) = io::pipe().map_err(|error| error.to_string())?;
        let client = json!({ "name": "codex-orchestrator", "title": null, "version": env!("CARGO_PKG_VERSION") });
        for message in [
            json!({ "id": 1, "method": "initialize", "params": { "clientInfo": client } }),
            json!({ "method": "initialized" }),
            json!({ "id": QUESTION, "method": "account/read", "params": { "refreshToken": true } }),
        ] {
            writeln!(writer, "{message}").map_err(|error| error.to_string())?;
        }
        // Codex exits when its stdin is closed, so keep stdin open until the response.
        let mut open = Some(writer);
        let on_line = move |line: &[u8]| {
            if serde_json::from_slice::<Value>(line).is_ok_and(|answer| answer["id"] == QUESTION) {
                open.take();
            }
        };
        let command = CommandSpec::new(&Tool::at(&self.program), &config.base_environment, folder.join("work"))
            .args(self.kind.prefix())
            .args(["app-server"])
            .envs(engine_environment(config))
            .envs(config.environment.get(std::ffi::OsStr::new(ENDPOINT)).map(|value| (ENDPOINT, value)))
            .env("CODEX_HOME", folder.join("codex"));
        let command = self.kind.renewal(command, config, ENDPOINT);
        let stdin = Stdin::File(File::from(OwnedFd::from(reader)));
        let done = command.stdin(stdin).stdout(Stdout::Lines(Box::new(on_line))).deadline(PATIENCE).run_ok().await;
        done.map(drop).map_err(|error| error.to_string())
    }
}

/// Creates the folder with the complete login. Returns `None` if an earlier renewal already got new tokens, which are stored
/// now.
fn prepare(home: &CodexHome, folder: PathBuf) -> io::Result<Option<LoginCopy>> {
    let copy = LoginCopy::file(folder.join("codex/auth.json"));
    if Login::renew(home, &copy, Timestamp::now())? {
        fs_err::remove_dir_all(folder)?;
        return Ok(None);
    }
    match fs_err::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    for made in [folder.clone(), folder.join("codex"), folder.join("work")] {
        private_folder(&made)?;
    }
    if let Some(login) = home.read_login()? {
        copy.put(&login)?;
    }
    Ok(Some(copy))
}
