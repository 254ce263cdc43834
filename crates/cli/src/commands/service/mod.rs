//! `service`: installs and manages the server as a systemd service. `unit` generates the text of the unit, and `systemd` calls
//! `systemctl`.
//!
//! Every command can be repeated safely. Invariant: only the server is ever stopped, never a run or its keeper.

#[cfg(test)]
mod fake_systemd;
mod systemd;
mod unit;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use config::{Config, Overrides};
use model::ErrorCode;
use model::problem::Problem;
use process::ProcessIdentity;
use serde::Serialize;
use tokio::process::Command;

use self::systemd::{Manager, Systemd, UnitState};
use self::unit::{NAME, Scope, Unit};
use crate::args::{Arguments, InstallArguments, ServiceCommand};
use crate::output::{Output, OutputFormat};
use crate::printer;
use crate::server;

/// The folder in which systemd lists users whose services run without a login.
const LINGER: &str = "/var/lib/systemd/linger";

/// The folder for system units.
const SYSTEM_UNITS: &str = "/etc/systemd/system";

pub(crate) async fn run(arguments: &Arguments, command: &ServiceCommand) -> Result<ExitCode, Problem> {
    let format = arguments.format();
    let (ServiceCommand::Install(InstallArguments { system, .. })
    | ServiceCommand::Uninstall { system }
    | ServiceCommand::Status { system }) = command;
    let manager = if *system { Manager::System } else { Manager::User };
    match command {
        ServiceCommand::Install(install) => {
            let config = planned(arguments, install).await?;
            let unit = unit(&config, install)?;
            if install.print {
                printer::bytes(unit.text()?.as_bytes());
                return Ok(ExitCode::SUCCESS);
            }
            let systemd = find(&config, manager)?;
            let changed = installed(&systemd, &unit).await?;
            if format.is_json() {
                return shown(&systemd, format).await;
            }
            printer::line(if changed {
                "Installed the service. The server is running."
            } else {
                "The service is already installed, and the server is running."
            });
            shown(&systemd, format).await?;
            if manager == Manager::User {
                hint_about_logging_out(&config);
            }
            Ok(ExitCode::SUCCESS)
        }
        ServiceCommand::Uninstall { .. } => {
            let removed = uninstalled(&find(&server::config(arguments)?, manager)?).await?;
            printer::line(if removed {
                "Removed the service. Active runs continue, and the next command starts a server that takes them over."
            } else {
                "No service is installed."
            });
            Ok(ExitCode::SUCCESS)
        }
        ServiceCommand::Status { .. } => shown(&find(&server::config(arguments)?, manager)?, format).await,
    }
}

/// Returns the settings for the service. By default, a system service stores its data in the home directory of the user it runs as.
async fn planned(arguments: &Arguments, install: &InstallArguments) -> Result<Config, Problem> {
    let overrides = |home| Overrides { home, listen: install.listen.clone(), worker: install.worker.clone() };
    let own = Config::load(&overrides(arguments.home.clone()))?;
    let is_chosen = arguments.home.is_some() || variable(&own, "ORCH_HOME").is_some();
    if !install.system || is_chosen {
        return Ok(own);
    }
    let home = home_of(&run_as(&own, install)).await?;
    Config::load(&overrides(Some(home.join(".codex-orchestrator"))))
}

fn variable<'a>(config: &'a Config, name: &str) -> Option<&'a str> {
    config.environment.get(std::ffi::OsStr::new(name))?.to_str().filter(|value| !value.is_empty())
}

/// Returns the user for a system service: the value of `--run-as`, or the user who called sudo.
fn run_as(config: &Config, install: &InstallArguments) -> String {
    install.run_as.as_deref().or_else(|| variable(config, "SUDO_USER")).unwrap_or("root").to_owned()
}

async fn home_of(user: &str) -> Result<PathBuf, Problem> {
    let asked = Command::new("getent").args(["passwd", "--", user]).output().await;
    let entry = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let home = entry.trim().split(':').nth(5).filter(|home| Path::new(home).is_absolute()).map(PathBuf::from);
    home.ok_or_else(|| {
        Problem::new(ErrorCode::NoSuchUser, format!("no home directory found for user `{user}`"))
            .hint("use --run-as with another user, or --home with a folder")
    })
}

fn unit(config: &Config, install: &InstallArguments) -> Result<Unit, Problem> {
    let program =
        std::env::current_exe().map_err(|error| Problem::internal(format!("could not find this program's file: {error}")))?;
    if !program.is_file() {
        let detail = format!("this program was replaced or removed while it was running: {}", program.display());
        return Err(Problem::new(ErrorCode::ProgramGone, detail).hint("run the command again"));
    }
    let scope = if install.system { Scope::System { run_as: run_as(config, install) } } else { Scope::User };
    let given = [("--listen", &install.listen), ("--worker", &install.worker)];
    let arguments = given.into_iter().filter_map(|(flag, value)| Some([flag.to_owned(), value.clone()?])).flatten().collect();
    Ok(Unit { scope, program, home: config.home.clone(), path: variable(config, "PATH").map(str::to_owned), arguments })
}

fn find(config: &Config, manager: Manager) -> Result<Systemd, Problem> {
    let path = variable(config, "PATH").unwrap_or_default().to_owned();
    if manager == Manager::System {
        return Systemd::find(Manager::System, Path::new(SYSTEM_UNITS), path.as_ref());
    }
    let given = variable(config, "XDG_CONFIG_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let folder = given.or_else(|| Some(Path::new(variable(config, "HOME")?).join(".config"))).ok_or_else(|| {
        Problem::new(ErrorCode::ConfigUnusable, "HOME is not set, so there is no folder for the unit".to_owned())
            .hint("set HOME, or use --system")
    })?;
    Systemd::find(Manager::User, &folder.join("systemd/user"), path.as_ref())
}

/// Writes the unit and starts the service. Returns whether anything changed.
async fn installed(systemd: &Systemd, unit: &Unit) -> Result<bool, Problem> {
    let text = unit.text()?;
    systemd.answers().await?;
    let is_new = systemd.installed()?.is_none_or(|found| found != text);
    if is_new {
        systemd.write(&text)?;
    }
    systemd.run(&["daemon-reload"]).await?;
    let was_active = systemd.state().await?.active == "active";
    if !was_active {
        end_background_server(&unit.home).await?;
    }
    let started = async {
        systemd.run(&["enable", "--now", NAME]).await?;
        if was_active && is_new {
            systemd.run(&["restart", NAME]).await?;
        }
        Ok(())
    };
    started.await.map_err(|problem: Problem| problem.hint(format!("see the log: {}", systemd.journal())))?;
    Ok(is_new || !was_active)
}

/// Stops a server that runs in the background with the same home directory. Its runs continue, and the service takes them over.
async fn end_background_server(home: &Path) -> Result<(), Problem> {
    let client = server::client_of(home).await?;
    if !client.answers().await {
        return Ok(());
    }
    let pid = client.show_status().await?.pid;
    printer::remark(format!("Stopping the background server (process {pid}). Its runs continue."));
    let ended = async {
        match ProcessIdentity::of(pid)? {
            Some(background) => server::end(&background).await,
            None => Ok(()),
        }
    };
    ended.await.map_err(|error| {
        Problem::new(ErrorCode::ServerInTheWay, format!("could not stop the background server (process {pid}): {error}"))
            .hint(format!("stop it with `kill {pid}`, then try again"))
    })
}

/// Stops the service of a home directory, if there is one. Returns the command that starts the service again.
pub(super) async fn stop(config: &Config, server: Option<&ProcessIdentity>) -> Result<Option<String>, Problem> {
    for manager in [Manager::User, Manager::System] {
        // Without systemd, there is no service to stop.
        let Ok(systemd) = find(config, manager) else { continue };
        if stopped(&systemd, &config.home, server).await? {
            return Ok(Some(systemd.command_line(&format!("start {NAME}"))));
        }
    }
    Ok(None)
}

/// Stops the unit through systemd if it serves the home directory. If the server only got a signal, systemd could restart it.
async fn stopped(systemd: &Systemd, home: &Path, server: Option<&ProcessIdentity>) -> Result<bool, Problem> {
    if !systemd.unit.exists() {
        return Ok(false);
    }
    // A unit that somebody else wrote is recognized only by its process.
    let is_for_home = systemd.installed().is_ok_and(|text| text.is_some_and(|text| unit::is_for_home(&text, home)));
    let state = match systemd.state().await {
        Ok(state) => state,
        Err(problem) if is_for_home => return Err(problem),
        Err(problem) => {
            tracing::debug!(%problem, "could not read the state of another home's unit");
            return Ok(false);
        }
    };
    let is_running = !matches!(state.active.as_str(), "inactive" | "failed");
    let is_server = server.is_some_and(|server| state.pid == Some(server.pid));
    let serves_home = is_server || (is_for_home && is_running);
    if !serves_home {
        return Ok(false);
    }
    systemd.run(&["stop", NAME]).await.map_err(|problem| match systemd.manager() {
        Manager::User => problem,
        Manager::System => problem.hint(format!("stop it as root: sudo systemctl stop {NAME}")),
    })?;
    Ok(true)
}

/// Stops the server and removes the unit. Returns whether the unit was installed.
async fn uninstalled(systemd: &Systemd) -> Result<bool, Problem> {
    if systemd.installed()?.is_none() {
        return Ok(false);
    }
    systemd.answers().await?;
    systemd.run(&["disable", "--now", NAME]).await?;
    systemd.remove()?;
    systemd.run(&["daemon-reload"]).await?;
    Ok(true)
}

#[derive(Debug, Serialize)]
struct ServiceStatus<'a> {
    unit: &'a Path,
    installed: bool,
    #[serde(flatten)]
    state: UnitState,
}

/// Prints the state of the service. The exit code says whether its server is running.
async fn shown(systemd: &Systemd, format: OutputFormat) -> Result<ExitCode, Problem> {
    let (is_installed, state) = (systemd.installed()?.is_some(), systemd.state().await?);
    let code = if state.active == "active" { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if format.is_json() {
        printer::json(&ServiceStatus { unit: &systemd.unit, installed: is_installed, state })?;
        return Ok(code);
    }
    if is_installed {
        status(systemd, &state).print();
    } else {
        printer::line("The service is not installed.");
        printer::hint("install it: codex-orchestrator service install");
    }
    Ok(code)
}

fn status(systemd: &Systemd, state: &UnitState) -> Output {
    let mut out = Output::default();
    out.line(format!("unit     {}", systemd.unit.display()));
    out.line(format!("server   {}", words(state)));
    out.line(format!("log      {}", systemd.journal()));
    if state.active == "failed" {
        out.hint(&format!("restart it: {}", systemd.command_line(&format!("restart {NAME}"))));
    }
    out
}

fn words(state: &UnitState) -> String {
    let pid = state.pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
    let restarts = match state.restarts {
        0 => String::new(),
        number => format!(", restarted {}", printer::plural(number as usize, "time")),
    };
    let enabled = if state.enabled == "enabled" { ", starts automatically" } else { ", does not start automatically" };
    format!("{}{pid}{restarts}{enabled}", state.active)
}

/// Warns that systemd stops a user's server and all its runs when the user's last session ends.
fn hint_about_logging_out(config: &Config) {
    let user = variable(config, "USER").or_else(|| variable(config, "LOGNAME"));
    let lingers = user.is_some_and(|user| Path::new(LINGER).join(user).exists());
    if !lingers {
        printer::hint("to keep the server and its runs active after you log out, run once: loginctl enable-linger");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use testkit::fake_server::{Answer, FakeServer};

    use super::fake_systemd::FakeSystemd;
    use super::*;
    use crate::printer::captured::{self, Reader};

    const ACTIVE: &str =
        "case \"$*\" in *ActiveState*) printf 'ActiveState=active\\nUnitFileState=enabled\\nMainPID=42\\nNRestarts=2\\n';; esac";
    const INACTIVE: &str = "case \"$*\" in *ActiveState*) printf 'ActiveState=inactive\\nUnitFileState=\\nMainPID=0\\n';; esac";

    fn unit(home: PathBuf) -> Unit {
        Unit { scope: Scope::User, program: "/bin/true".into(), home, path: None, arguments: vec![] }
    }

    /// Returns the calls of `systemctl` that change something.
    fn changes(stage: &FakeSystemd) -> Vec<String> {
        stage.calls().into_iter().filter(|call| !call.contains("show")).collect()
    }

    #[tokio::test]
    async fn installing_writes_the_unit_and_starts_it() {
        let stage = FakeSystemd::new(INACTIVE);
        assert!(installed(&stage.systemd, &unit(stage.home())).await.expect("the service is installed"));
        let text = std::fs::read_to_string(&stage.systemd.unit).expect("the unit");
        assert!(text.contains("KillMode=process"), "{text}");
        assert_eq!(changes(&stage), ["--user daemon-reload", "--user enable --now codex-orchestrator.service"]);
    }

    #[tokio::test]
    async fn installing_again_restarts_the_server_only_for_something_new() {
        let stage = FakeSystemd::new(ACTIVE);
        let mut unit = unit(stage.home());
        assert!(installed(&stage.systemd, &unit).await.expect("the service is installed"));
        stage.forget_calls();
        assert!(!installed(&stage.systemd, &unit).await.expect("the service is already installed"));
        assert!(!changes(&stage).iter().any(|call| call.contains("restart")), "{:?}", changes(&stage));
        unit.arguments = vec!["--listen".to_owned(), "off".to_owned()];
        assert!(installed(&stage.systemd, &unit).await.expect("the service is installed again"));
        assert_eq!(changes(&stage).last().map(String::as_str), Some("--user restart codex-orchestrator.service"));
    }

    #[tokio::test]
    async fn nothing_is_written_if_systemd_does_not_answer() {
        let stage = FakeSystemd::new("exit 1");
        installed(&stage.systemd, &unit(stage.home())).await.expect_err("systemd does not answer");
        assert!(!stage.systemd.unit.exists());
    }

    #[tokio::test]
    async fn a_server_that_does_not_start_is_reported_with_its_log() {
        let stage = FakeSystemd::new(&format!("case \"$*\" in *enable*) exit 1;; esac; {INACTIVE}"));
        let problem = installed(&stage.systemd, &unit(stage.home())).await.expect_err("the server does not start");
        assert!(problem.report.hints.iter().any(|hint| hint.contains("journalctl --user")), "{problem:?}");
    }

    #[tokio::test]
    async fn installing_stops_a_server_in_the_background() {
        let stage = FakeSystemd::new(INACTIVE);
        let mut server = Command::new("sleep").arg("600").kill_on_drop(true).spawn().expect("it starts");
        let pid = server.id().expect("it runs");
        let socket = FakeServer::start(&stage.home().join("orchestrator.sock")).await;
        let status = serde_json::json!({
            "version": "1", "pid": pid, "home": "/", "worker": { "name": "host", "program": null, "problem": null, "hints": [] },
            "git": "", "started_at": "2026-01-01T00:00:00Z", "listen": null, "environments": 0, "tasks": 0, "active_runs": 0,
        });
        socket.on("GET /healthz", Answer::raw(200, "text/plain", "ok")).on("GET /api/v1/status", Answer::json(status));
        let unit = unit(stage.home());
        let (done, ended) = tokio::join!(installed(&stage.systemd, &unit), server.wait());
        assert!(done.expect("the service is installed"));
        assert_eq!(ended.expect("it ended").signal(), Some(15));
    }

    #[tokio::test]
    async fn stopping_a_home_stops_the_unit_that_serves_it_and_no_other() {
        let stage = FakeSystemd::new(ACTIVE);
        let home = stage.home();
        let stopped = async |home: &Path, server: Option<&ProcessIdentity>| {
            stage.forget_calls();
            let stopped = stopped(&stage.systemd, home, server).await.expect("systemd answers");
            assert_eq!(changes(&stage).iter().any(|call| call == "--user stop codex-orchestrator.service"), stopped);
            stopped
        };
        assert!(!stopped(&home, None).await, "no unit is installed");
        installed(&stage.systemd, &unit(home.clone())).await.expect("the service is installed");
        assert!(stopped(&home, None).await);
        let other = Path::new("/another/home");
        assert!(!stopped(other, None).await, "the unit serves another home");
        let with_pid = |pid| ProcessIdentity { pid, ..ProcessIdentity::current().expect("/proc can be read") };
        assert!(!stopped(other, Some(&with_pid(41))).await);
        assert!(stopped(other, Some(&with_pid(42))).await, "the server is the unit's process");
    }

    #[tokio::test]
    async fn a_unit_that_does_not_run_is_not_stopped() {
        let stage = FakeSystemd::new(INACTIVE);
        installed(&stage.systemd, &unit(stage.home())).await.expect("the service is installed");
        assert!(!stopped(&stage.systemd, &stage.home(), None).await.expect("systemd answers"));
    }

    #[tokio::test]
    async fn uninstalling_stops_the_server_and_twice_is_fine() {
        let stage = FakeSystemd::new(ACTIVE);
        installed(&stage.systemd, &unit(stage.home())).await.expect("the service is installed");
        stage.forget_calls();
        assert!(uninstalled(&stage.systemd).await.expect("the service is removed"));
        assert!(!stage.systemd.unit.exists());
        assert_eq!(changes(&stage), ["--user disable --now codex-orchestrator.service", "--user daemon-reload"]);
        assert!(!uninstalled(&stage.systemd).await.expect("removing a missing service is fine"));
    }

    #[tokio::test]
    async fn the_status_is_shown_in_words() {
        let systemd = Systemd::at("/bin/systemctl".into(), Manager::User, Path::new("/home/me/.config/systemd/user"));
        let mut states = vec![];
        for script in [ACTIVE, INACTIVE] {
            states.push(FakeSystemd::new(script).systemd.state().await.expect("it answers"));
        }
        states.push(UnitState { active: "failed".to_owned(), ..states[1].clone() });
        let all: Vec<_> = states.iter().map(|state| status(&systemd, state).plain()).collect();
        insta::assert_snapshot!("service-status", all.join("\n\n"));
    }

    /// Prints the state of the service, and returns its exit code with what was printed.
    async fn printed(systemd: &Systemd, format: OutputFormat) -> (ExitCode, String, String) {
        let (code, captured) = captured::during(Reader::Pipe, shown(systemd, format)).await;
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (code.expect("systemd answers"), text(captured.stdout), text(captured.stderr))
    }

    #[tokio::test]
    async fn the_exit_code_of_the_status_says_whether_the_server_runs() {
        for (script, active) in [(ACTIVE, true), (INACTIVE, false)] {
            let stage = FakeSystemd::new(script);
            let code = if active { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            let (found, stdout, stderr) = printed(&stage.systemd, OutputFormat::Text).await;
            assert_eq!((found, stdout.as_str()), (code, "The service is not installed.\n"));
            assert_eq!(stderr, "hint:  install it: codex-orchestrator service install\n");
            installed(&stage.systemd, &unit(stage.home())).await.expect("the service is installed");
            let (found, stdout, _) = printed(&stage.systemd, OutputFormat::Text).await;
            assert_eq!(found, code);
            assert!(stdout.starts_with("unit     ") && stdout.lines().count() == 3, "{stdout}");
        }
    }

    #[tokio::test]
    async fn the_status_in_json_has_the_state_of_the_unit() {
        let stage = FakeSystemd::new(ACTIVE);
        installed(&stage.systemd, &unit(stage.home())).await.expect("the service is installed");
        let (_, stdout, _) = printed(&stage.systemd, OutputFormat::Json).await;
        let status: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
        assert_eq!(status["unit"], stage.systemd.unit.to_str().expect("text"));
        assert_eq!((&status["installed"], &status["pid"]), (&true.into(), &42.into()));
    }

    #[tokio::test]
    async fn a_unit_of_another_program_is_neither_replaced_nor_removed() {
        let stage = FakeSystemd::new(INACTIVE);
        std::fs::create_dir_all(stage.systemd.unit.parent().expect("a folder")).expect("made");
        std::fs::write(&stage.systemd.unit, "[Service]\nExecStart=/usr/bin/other\n").expect("written");
        for problem in [
            installed(&stage.systemd, &unit(stage.home())).await.expect_err("another unit"),
            uninstalled(&stage.systemd).await.map(|_| true).expect_err("another unit"),
        ] {
            assert_eq!(problem.report.code, ErrorCode::ForeignUnit);
        }
        assert!(std::fs::read_to_string(&stage.systemd.unit).expect("the unit").contains("/usr/bin/other"));
        assert_eq!(changes(&stage), [""; 0]);
    }

    #[test]
    fn words_say_how_often_a_server_was_restarted() {
        let state =
            |pid, restarts, enabled: &str| UnitState { active: "active".to_owned(), enabled: enabled.to_owned(), pid, restarts };
        assert_eq!(words(&state(Some(42), 0, "enabled")), "active (process 42), starts automatically");
        assert_eq!(words(&state(None, 1, "disabled")), "active, restarted 1 time, does not start automatically");
        assert_eq!(words(&state(Some(7), 3, "")), "active (process 7), restarted 3 times, does not start automatically");
    }

    #[tokio::test]
    async fn a_planned_unit_is_printed_and_not_installed() {
        let home = tempfile::tempdir().expect("a folder");
        let words = ["service", "install", "--print", "--listen", "off", "--worker", "host"];
        let (stdout, stderr) = crate::tests::stage::run(home.path(), &words, Reader::Pipe).await.ok();
        let program = std::env::current_exe().expect("this program");
        assert!(
            stdout
                .contains(&format!("ExecStart=\"{}\" \"serve\" \"--listen\" \"off\" \"--worker\" \"host\"\n", program.display()))
        );
        assert!(stdout.contains(&format!("Environment=\"ORCH_HOME={}\"\n", home.path().display())), "{stdout}");
        assert_eq!((stderr.as_str(), std::fs::read_dir(home.path()).expect("a folder").count()), ("", 0));
    }

    #[tokio::test]
    async fn a_system_service_needs_a_user_with_a_home_directory() {
        assert!(home_of("root").await.is_ok_and(|home| home.is_absolute()));
        for user in ["no-such-user-here", "-x", ""] {
            assert_eq!(home_of(user).await.expect_err("the user is unknown").report.code, ErrorCode::NoSuchUser, "{user:?}");
        }
    }
}
