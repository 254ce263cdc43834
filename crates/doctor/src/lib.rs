//! Checks whether this machine has everything that the server needs, and suggests fixes. The command line and the pages show
//! the same text.
//!
//! Each finding is one line with hints. The checks start no runs and change nothing.
//! * `worker`: the container engine and its image, or the Codex CLI of this machine, and the login.

mod worker;

use std::path::Path;
use std::time::Duration;

use config::Config;
use durable::blocking;
use git::Git;

use model::queue::Blocker;
use protocol::ServerStatus;
pub use protocol::{Finding, Level};
use rustix::fs::{Access, access};

/// How long the checks of the worker may take.
const PATIENCE: Duration = Duration::from_secs(45);

/// The free space in bytes below which a clone or a run is likely to fail.
const LOW_SPACE_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// Returns the findings of this process, with the settings and environment that it was started with.
pub async fn findings(config: &Config) -> Vec<Finding> {
    let (at, below) = (config.home.clone(), config.home.clone());
    let mut findings = vec![git(config).await, blocking(move || home(&at)).await, blocking(move || space(&below)).await];
    findings.extend(names(config));
    match tokio::time::timeout(PATIENCE, worker::findings(config)).await {
        Ok(found) => findings.extend(found),
        Err(_) => findings.push(
            Finding::new("worker", Level::Warning, format!("no response within {} s", PATIENCE.as_secs()))
                .hint("check whether the container engine or Codex hangs"),
        ),
    }
    findings
}

/// Checks the additional host names. Returns a finding only if there is a problem, because most servers have no such names.
fn names(config: &Config) -> Option<Finding> {
    let names = config.names_for_every_port();
    let detail =
        format!("browsers send the session cookie for {} to programs on every other port of that host", names.join(" and "));
    (!names.is_empty()).then(|| {
        Finding::new("pages", Level::Warning, detail)
            .hint("serve nothing else under that name, and set up HTTPS: see docs/https.md")
            .hint("then set `public_url = \"https://NAME\"` under `[notify]` in config.toml")
    })
}

async fn git(config: &Config) -> Finding {
    match Git::discover(config.base_environment.clone(), None).await {
        Ok(git) if git.version().is_tested() => {
            Finding::new("git", Level::Ok, format!("{} at {}", git.version(), git.tool().path().display()))
        }
        Ok(git) => Finding::new("git", Level::Warning, format!("{} is older than the tested versions", git.version()))
            .hint("install git 2.39 or newer"),
        Err(error) => Finding::new("git", Level::Failure, error.to_string()).hint("install git 2.39 or newer"),
    }
}

fn home(path: &Path) -> Finding {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let shown = path.display();
    let Ok(metadata) = std::fs::metadata(path) else { return new_home(path) };
    let refused = |why: String| {
        Finding::new("home", Level::Failure, format!("{shown} {why}"))
            .hint("fix its permissions, or set ORCH_HOME to another folder")
    };
    if !metadata.is_dir() {
        return refused("is not a folder".to_owned());
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return refused(format!("belongs to another user ({})", metadata.uid()));
    }
    if let Err(error) = tempfile::tempfile_in(path) {
        return refused(format!("is not writable: {error}"));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Finding::new("home", Level::Warning, format!("{shown} is accessible to other users (mode {mode:03o})"))
            .hint(format!("run `chmod 700 {shown}`, or restart the server, which sets this mode"));
    }
    Finding::new("home", Level::Ok, format!("{shown}, accessible only to its owner"))
}

/// Checks that a missing home can be created.
fn new_home(path: &Path) -> Finding {
    let shown = path.display();
    let above = existing_above(path);
    if above.is_dir() && access(above, Access::WRITE_OK | Access::EXEC_OK).is_ok() {
        return Finding::new("home", Level::Ok, format!("{shown} will be created at the first start"));
    }
    Finding::new("home", Level::Failure, format!("cannot create {shown} in {}", above.display()))
        .hint("set ORCH_HOME to another folder")
}

fn existing_above(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"))
}

fn space(home: &Path) -> Finding {
    match rustix::fs::statvfs(existing_above(home)) {
        Ok(found) => {
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            let shown = format!("{} GiB free", free >> 30);
            if free < LOW_SPACE_BYTES {
                Finding::new("disk", Level::Warning, shown).hint("free up disk space for clones and runs")
            } else {
                Finding::new("disk", Level::Ok, shown)
            }
        }
        Err(error) => Finding::new("disk", Level::Warning, format!("could not read the free disk space: {error}")),
    }
}

/// Reports a running server, which also made the other findings.
pub fn running(status: &ServerStatus) -> Finding {
    let server = format!("running (process {}); it ran these checks with its own settings and environment", status.pid);
    // What holds the queue is often one of the troubles.
    let mut reported: Vec<&Blocker> = vec![];
    for trouble in status.troubles.iter().chain(&status.hold) {
        if reported.iter().all(|known| known.detail != trouble.detail) {
            reported.push(trouble);
        }
    }
    if reported.is_empty() {
        return Finding::new("server", Level::Ok, server);
    }
    let details: Vec<_> = reported.iter().map(|trouble| trouble.detail.as_str()).collect();
    let finding = Finding::new("server", Level::Warning, format!("{server}; it reports: {}", details.join("; ")));
    reported.iter().flat_map(|trouble| &trouble.hints).fold(finding, |finding, hint| finding.hint(hint.clone()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn levels(path: &Path) -> (Level, usize) {
        let finding = home(path);
        (finding.level, finding.hints.len())
    }

    #[test]
    fn a_home_is_judged_by_whether_it_can_be_used_and_who_else_can() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(levels(&folder.path().join("not/there/yet")), (Level::Ok, 0));
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("ours");
        assert_eq!(levels(folder.path()), (Level::Warning, 1));
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).expect("ours");
        assert_eq!(levels(folder.path()), (Level::Ok, 0));
        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("written");
        assert_eq!(levels(&file), (Level::Failure, 1));
        assert_eq!(levels(&file.join("home")), (Level::Failure, 1));
    }

    #[test]
    fn a_link_to_a_home_is_judged_by_its_target() {
        let folder = tempfile::tempdir().expect("a folder");
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        std::os::unix::fs::symlink(&target, &link).expect("linked");
        assert!(home(&link).found.ends_with("will be created at the first start"), "a dangling link is not a home yet");
        std::fs::create_dir(&target).expect("made");
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o770)).expect("ours");
        let finding = home(&link);
        assert!(finding.level == Level::Warning && finding.found.contains("(mode 770)"), "{finding:?}");
        assert!(finding.hints[0].contains(&format!("chmod 700 {}", link.display())), "{finding:?}");
    }

    #[test]
    fn each_permission_of_others_is_reported() {
        let folder = tempfile::tempdir().expect("a folder");
        let check = |mode: u32, expect: Level| {
            std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode)).expect("ours");
            assert_eq!(home(folder.path()).level, expect, "{mode:o}");
        };
        for mode in [0o710, 0o720, 0o740, 0o701, 0o702, 0o704] {
            check(mode, Level::Warning);
        }
        check(0o700, Level::Ok);
    }

    #[test]
    fn the_free_space_of_a_missing_home_is_that_of_the_folder_above() {
        let folder = tempfile::tempdir().expect("a folder");
        let (here, below) = (space(folder.path()), space(&folder.path().join("not/there/yet")));
        assert_eq!((here.check.as_ref(), here.level), (below.check.as_ref(), below.level));
        assert!(here.found.ends_with(" GiB free"), "{here:?}");
        assert_eq!(existing_above(&folder.path().join("a/b")), folder.path());
        assert_eq!(existing_above(Path::new("relative/nowhere")), Path::new("/"), "an unknown path is not an error");
    }

    #[test]
    fn host_names_are_reported_only_if_their_cookies_reach_other_ports() {
        let config = Config::for_home(Path::new("/h"));
        assert_eq!(names(&config), None);
        let two = Config { allowed_hosts: vec!["a.lan".to_owned(), "b.lan".to_owned()], ..config };
        let finding = names(&two).expect("reported");
        assert_eq!((finding.level, finding.hints.len()), (Level::Warning, 2));
        assert!(finding.found.contains("for a.lan and b.lan to programs"), "{finding:?}");
    }

    fn status(troubles: &[(&str, &[&str])], hold: Option<&str>) -> ServerStatus {
        let trouble = |detail: &str, hints: &[&str]| serde_json::json!({ "code": "disk_low", "detail": detail, "hints": hints });
        let troubles: Vec<_> = troubles.iter().map(|(detail, hints)| trouble(detail, hints)).collect();
        let status = serde_json::json!({
            "version": "1", "pid": 7, "home": "/h", "worker": { "name": "host", "hints": [] }, "git": "2.39",
            "started_at": "2026-01-02T03:04:05Z", "environments": 0, "tasks": 0, "active_runs": 0, "queued_runs": 0,
            "hold": hold.map(|detail| trouble(detail, &["wait"])), "troubles": troubles,
        });
        serde_json::from_value(status).expect("a status")
    }

    #[test]
    fn a_running_server_is_fine_until_it_reports_something() {
        let fine = running(&status(&[], None));
        assert_eq!((fine.level, fine.hints.len()), (Level::Ok, 0));
        assert!(fine.found.starts_with("running (process 7)"), "{fine:?}");
        let two = running(&status(&[("no space", &["free some"]), ("no engine", &["start it", "or not"])], None));
        assert_eq!((two.level, two.hints), (Level::Warning, ["free some", "start it", "or not"].map(str::to_owned).to_vec()));
        assert!(two.found.ends_with("it reports: no space; no engine"), "{}", two.found);
    }

    #[test]
    fn what_holds_the_queue_is_reported_once() {
        let finding = running(&status(&[("no space", &["wait"]), ("no engine", &["start it"])], Some("no space")));
        assert!(finding.found.ends_with("it reports: no space; no engine"), "{}", finding.found);
        assert_eq!(finding.hints, ["wait", "start it"]);
        assert_eq!(running(&status(&[], Some("paused"))).level, Level::Warning);
    }

    #[tokio::test]
    async fn a_machine_without_anything_gets_a_finding_for_each_part() {
        let folder = tempfile::tempdir().expect("a folder");
        let base = process::BaseEnvironment::default().with("PATH", "/nowhere");
        let config = Config { worker: Some("host".to_owned()), base_environment: base, ..Config::for_home(folder.path()) };
        let found = findings(&config).await;
        let checks: Vec<_> = found.iter().map(|finding| finding.check.as_ref()).collect();
        assert_eq!(checks, ["git", "home", "disk", "worker"]);
        let failures = found.iter().filter(|finding| finding.level == Level::Failure);
        let failures: Vec<_> = failures.inspect(|finding| assert!(!finding.hints.is_empty(), "{finding:?}")).collect();
        assert_eq!(failures.len(), 2, "Git and Codex are missing: {failures:?}");
    }
}
