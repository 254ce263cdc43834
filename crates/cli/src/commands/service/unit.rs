//! Generates the text of the systemd unit and quotes paths for it.
//!
//! Pure: text in, text out. Keepers and workers are children of the service and inherit its limits. Invariant: stopping, restarting
//! or killing the server never affects a run, and no setting in the unit takes away anything that a run needs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use model::ErrorCode;
use model::problem::Problem;

/// The name of the unit.
pub(super) const NAME: &str = "codex-orchestrator.service";

/// The start of every unit that this program writes. It distinguishes them from other units.
pub(super) const MARK: &str = "# Written by `codex-orchestrator service install`";

/// The systemd instance that runs the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// The user's own systemd instance.
    User,
    /// The system instance, which runs the server as the given user.
    System {
        /// The user account of the server and its runs.
        run_as: String,
    },
}

/// The values from which the unit is generated.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    pub(super) scope: Scope,
    /// The path of this program.
    pub(super) program: PathBuf,
    pub(super) home: PathBuf,
    /// The value of `PATH`, to find programs such as git and Codex.
    pub(super) path: Option<String>,
    /// Additional arguments for `serve`.
    pub(super) arguments: Vec<String>,
}

/// Removes capabilities that no run needs: loading kernel modules, hardware access, rebooting, setting the clock, reading the
/// kernel log. A user namespace of a rootless container engine has its own set of capabilities.
const HARDENING: &str = "\
    # No option here disables setuid programs (sudo, newuidmap of rootless Podman), hides folders or gives each start
# a new /tmp. Runs outlive the server and need the same environment after a restart.
CapabilityBoundingSet=~CAP_SYS_MODULE CAP_SYS_RAWIO CAP_SYS_BOOT CAP_SYS_TIME CAP_SYSLOG CAP_WAKE_ALARM
";

/// The folders that `ProtectSystem=full` makes read-only.
const PROTECTED: [&str; 4] = ["/usr", "/boot", "/efi", "/etc"];

impl Unit {
    /// Returns the text of the unit file.
    pub(super) fn text(&self) -> Result<String, Problem> {
        let home = plain(&self.home)?;
        let program = plain(&self.program)?;
        // systemd does not accept these characters in the path of a program, even if they are escaped.
        if program.contains(['"', '\'', '\\']) {
            return Err(unwritable(program));
        }
        let mut command = quoted(program);
        for argument in std::iter::once("serve").chain(self.arguments.iter().map(String::as_str)) {
            write!(command, " {}", quoted(&checked(argument)?.replace('$', "$$"))).expect("writing to a string succeeds");
        }
        let mut environment = home_line(home);
        if let Some(path) = &self.path {
            write!(environment, "\nEnvironment={}", quoted(&format!("PATH={}", checked(path)?)))
                .expect("writing to a string succeeds");
        }
        let (edit, after, identity, target) = match &self.scope {
            Scope::User => ("systemctl --user edit", String::new(), String::new(), "default.target"),
            Scope::System { run_as } => {
                let after = "After=network.target docker.service podman.socket\n".to_owned();
                let identity = format!("User={}\n{HARDENING}{}\n", checked(run_as)?, self.protected());
                ("systemctl edit", after, identity, "multi-user.target")
            }
        };
        Ok(format!(
            "{MARK}, which overwrites this file.\n\
             # To change settings, use a drop-in: {edit} {NAME}\n\
             [Unit]\n\
             Description=Codex Orchestrator (runs coding tasks with the Codex CLI)\n\
             {after}RequiresMountsFor={mounts}\n\
             # Keep trying to start the server: the cause of a failure may go away.\n\
             StartLimitIntervalSec=0\n\
             \n\
             [Service]\n\
             Type=notify\n\
             ExecStart={command}\n\
             {environment}\n\
             # Optional: more variables, e.g. https_proxy or CODEX_API_KEY, one NAME=VALUE per line.\n\
             EnvironmentFile=-{file}\n\
             {identity}\
             # Stop only the server. Keepers and runs continue, and the next server takes them over.\n\
             KillMode=process\n\
             Restart=on-failure\n\
             RestartSec=1s\n\
             RestartPreventExitStatus=2\n\
             TimeoutStartSec=5min\n\
             TimeoutStopSec=30s\n\
             WatchdogSec=30s\n\
             # If a run uses too much memory, do not stop the server.\n\
             OOMPolicy=continue\n\
             TasksMax=infinity\n\
             LimitNOFILE=65536:524288\n\
             # Core files could contain tokens. A run can raise its own limit.\n\
             LimitCORE=0:infinity\n\
             \n\
             [Install]\n\
             WantedBy={target}\n",
            mounts = quoted(home),
            file = plain(&self.home.join("service.env"))?.replace('%', "%%"),
        ))
    }

    /// Makes the system folders read-only for the server and its runs, unless the home directory is in one of them.
    fn protected(&self) -> &'static str {
        let is_inside = PROTECTED.iter().any(|folder| self.home.starts_with(folder));
        if is_inside { "ProtectSystem=no" } else { "ProtectSystem=full" }
    }
}

/// Whether a unit that this program wrote serves this home directory.
pub(super) fn is_for_home(text: &str, home: &Path) -> bool {
    plain(home).is_ok_and(|home| text.lines().any(|line| line == home_line(home)))
}

fn home_line(home: &str) -> String {
    format!("Environment={}", quoted(&format!("ORCH_HOME={home}")))
}

/// Returns a path as text, if a unit can contain it.
fn plain(path: &Path) -> Result<&str, Problem> {
    path.to_str().ok_or_else(|| unwritable(&path.display().to_string())).and_then(checked)
}

fn checked(text: &str) -> Result<&str, Problem> {
    if text.is_empty() || text.trim() != text || text.contains(char::is_control) { Err(unwritable(text)) } else { Ok(text) }
}

fn unwritable(text: &str) -> Problem {
    let detail = format!("a systemd unit cannot contain `{}`", text.escape_debug());
    Problem::new(ErrorCode::UnitUnwritable, detail)
        .hint("use a path without control characters and without spaces at its start or end")
        .hint("the path of the program must not contain quotes or backslashes either")
}

/// Quotes a word so that systemd expands nothing in it (`systemd.syntax`, and the specifiers of `systemd.unit`).
fn quoted(word: &str) -> String {
    let escaped = word.replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    fn unit(scope: Scope) -> Unit {
        Unit {
            scope,
            program: "/usr/local/bin/codex-orchestrator".into(),
            home: "/home/me/.codex-orchestrator".into(),
            path: Some("/home/me/.local/bin:/usr/bin:/bin".to_owned()),
            arguments: vec![],
        }
    }

    #[test]
    fn a_users_unit_says_what_keeps_runs_alive() {
        insta::assert_snapshot!(unit(Scope::User).text().expect("plain paths"), @r##"
        # Written by `codex-orchestrator service install`, which overwrites this file.
        # To change settings, use a drop-in: systemctl --user edit codex-orchestrator.service
        [Unit]
        Description=Codex Orchestrator (runs coding tasks with the Codex CLI)
        RequiresMountsFor="/home/me/.codex-orchestrator"
        # Keep trying to start the server: the cause of a failure may go away.
        StartLimitIntervalSec=0

        [Service]
        Type=notify
        ExecStart="/usr/local/bin/codex-orchestrator" "serve"
        Environment="ORCH_HOME=/home/me/.codex-orchestrator"
        Environment="PATH=/home/me/.local/bin:/usr/bin:/bin"
        # Optional: more variables, e.g. https_proxy or CODEX_API_KEY, one NAME=VALUE per line.
        EnvironmentFile=-/home/me/.codex-orchestrator/service.env
        # Stop only the server. Keepers and runs continue, and the next server takes them over.
        KillMode=process
        Restart=on-failure
        RestartSec=1s
        RestartPreventExitStatus=2
        TimeoutStartSec=5min
        TimeoutStopSec=30s
        WatchdogSec=30s
        # If a run uses too much memory, do not stop the server.
        OOMPolicy=continue
        TasksMax=infinity
        LimitNOFILE=65536:524288
        # Core files could contain tokens. A run can raise its own limit.
        LimitCORE=0:infinity

        [Install]
        WantedBy=default.target
        "##);
    }

    #[test]
    fn the_system_unit_has_a_user_and_takes_nothing_from_runs() {
        let text = unit(Scope::System { run_as: "me".to_owned() }).text().expect("plain paths");
        for line in ["User=me", "ProtectSystem=full", "KillMode=process", "WantedBy=multi-user.target"] {
            assert!(text.lines().any(|found| found == line), "{line} is missing: {text}");
        }
        // Each option would break runs that need setuid programs, the socket of the container engine, credentials or files in /tmp.
        for option in ["NoNewPrivileges", "PrivateTmp", "ProtectHome", "PrivateUsers", "RestrictNamespaces", "SystemCallFilter"] {
            assert!(!text.contains(option), "{option}: {text}");
        }
    }

    #[test]
    fn special_characters_are_escaped_for_systemd() {
        let strange = Unit {
            program: "/opt/a b/50%/$x".into(),
            home: r#"/srv/it's "100%" back\slash"#.into(),
            arguments: vec!["--worker".to_owned(), "/w $HOME/100%".to_owned()],
            ..unit(Scope::User)
        };
        let text = strange.text().expect("the unit can be written");
        let line = |key: &str| text.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("no {key}: {text}"));
        let command = r#"ExecStart="/opt/a b/50%%/$x" "serve" "--worker" "/w $$HOME/100%%""#;
        assert_eq!(line("ExecStart="), command);
        assert_eq!(line("Environment="), r#"Environment="ORCH_HOME=/srv/it's \"100%%\" back\\slash""#);
        assert_eq!(line("EnvironmentFile="), r#"EnvironmentFile=-/srv/it's "100%%" back\slash/service.env"#);
        assert_eq!(line("RequiresMountsFor="), r#"RequiresMountsFor="/srv/it's \"100%%\" back\\slash""#);
    }

    #[test]
    fn a_unit_is_recognized_by_the_home_it_serves() {
        for home in ["/home/me/.codex-orchestrator", r#"/srv/it's "100%" back\slash"#] {
            let text = Unit { home: home.into(), ..unit(Scope::User) }.text().expect("the unit can be written");
            assert!(is_for_home(&text, Path::new(home)), "{text}");
            assert!(!is_for_home(&text, Path::new("/home/me")) && !is_for_home(&text, Path::new("/srv/a\n")), "{text}");
        }
    }

    #[test]
    fn a_path_that_a_unit_cannot_contain_is_refused() {
        for home in ["/srv/a\nExecStartPre=/bin/evil", "/srv/a\u{7}", "/srv/a "] {
            let refused = Unit { home: home.into(), ..unit(Scope::User) }.text().expect_err("the unit cannot be written");
            assert_eq!(refused.report.code, ErrorCode::UnitUnwritable, "{home:?}");
            assert!(!refused.report.message.contains('\n'), "{}", refused.report.message);
        }
        for program in ["/opt/it's", r"/opt/a\b"] {
            assert!(Unit { program: program.into(), ..unit(Scope::User) }.text().is_err(), "{program}");
        }
        let not_text = std::ffi::OsString::from_vec(b"/srv/\xff".to_vec());
        assert!(Unit { home: not_text.into(), ..unit(Scope::User) }.text().is_err());
    }

    #[test]
    fn a_home_among_the_systems_folders_stays_writable() {
        let system = unit(Scope::System { run_as: "me".to_owned() });
        let inside = Unit { home: "/etc/orchestrator".into(), ..system };
        assert!(inside.text().expect("the path is plain").contains("\nProtectSystem=no\n"));
    }

    #[test]
    fn systemd_reads_both_units_without_a_complaint() {
        let folder = tempfile::tempdir().expect("a folder");
        let strange = folder.path().join(r#"a b 50% "q" $x it's back\slash"#);
        std::fs::create_dir(&strange).expect("a folder");
        let program = folder.path().join("50% $x").join("codex orchestrator");
        std::fs::create_dir(program.parent().expect("a folder")).expect("a folder");
        std::fs::copy("/bin/true", &program).expect("a program");
        for scope in [Scope::User, Scope::System { run_as: "root".to_owned() }] {
            // systemd checks that the program exists, so it must have read the exact path.
            let unit = Unit { program: program.clone(), home: strange.clone(), ..unit(scope) };
            let file = folder.path().join(NAME);
            std::fs::write(&file, unit.text().expect("the unit can be written")).expect("written");
            let verified = std::process::Command::new("systemd-analyze").arg("verify").arg(&file).output();
            let verified = verified.expect("systemd-analyze is installed (by `cargo xtask test`)");
            let said = String::from_utf8_lossy(&verified.stderr);
            assert!(verified.status.success() && said.is_empty(), "{said}");
        }
    }
}
