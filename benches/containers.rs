//! Measures the overhead of containers: the time to Codex's first line, compared with `docker run`, and the export after a run.
//!
//! `cargo bench -p codex-orchestrator --profile dist --bench containers` prints a table. It uses the real container engine
//! and the image of the tests. A shell script replaces Codex, so that only the overhead is measured.
#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use testkit::docker::{self, Sandbox};

const BINARY: &str = env!("CARGO_BIN_EXE_codex-orchestrator");

/// The number of measurements per figure. The median is printed.
const ROUNDS: usize = 15;

/// The number of files in the exported repository.
const FILES: usize = 5_000;

/// The number of files that a run changes.
const CHANGED: usize = 40;

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    println!("| measurement | median | min–max |\n|---|---|---|");
    let (ours, theirs) = to_the_first_line(folder.path());
    row("`codex-docker exec` to Codex's first line", &ours);
    row("`docker run` with the same flags", &theirs);
    println!("| ratio of the medians | {:.2} | |", median(&ours).as_secs_f64() / median(&theirs).as_secs_f64());
    let (harvest, empty) = bringing_out(folder.path());
    row("`codex-docker harvest`, 40 of 5,000 files changed", &harvest);
    row("of which a container that does nothing", &empty);
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted[sorted.len() / 2]
}

fn row(what: &str, times: &[Duration]) {
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let (min, max) = (times.iter().min().copied().unwrap_or_default(), times.iter().max().copied().unwrap_or_default());
    println!("| {what} | {:.0} ms | {:.0}–{:.0} |", ms(median(times)), ms(min), ms(max));
}

/// Returns the time until a program prints its first line, then waits for the program to exit.
fn first_line(command: &mut Command) -> Duration {
    let begun = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the program starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("readable");
    let taken = begun.elapsed();
    assert_eq!(line, "first\n", "{command:?}");
    assert!(child.wait().expect("ours").success(), "{command:?}");
    taken
}

fn to_the_first_line(folder: &Path) -> (Vec<Duration>, Vec<Duration>) {
    let (image, sandbox) = (docker::codex_image(), Sandbox::new());
    let (work, shim) = (folder.join("work"), folder.join("codex"));
    fs_err::create_dir(&work).expect("a new folder can be written");
    fs_err::write(&shim, "#!/bin/sh\necho first\n").expect("written");
    fs_err::set_permissions(&shim, std::fs::Permissions::from_mode(0o755)).expect("ours");
    let mut ours = vec![];
    let mut theirs = vec![];
    // The first round warms the caches and is not counted.
    for round in 0..=ROUNDS {
        let mut command = Command::new(BINARY);
        command.args(["codex-docker", "exec", "--json", "-"]).current_dir(&work).env_clear().env("HOME", folder);
        command.env("IMAGE_NAME", &image).env("CODEX_DOCKER_LABELS", sandbox.label());
        command.env("CODEX_MOUNT_MAPS_RO", format!("{}=/usr/local/sbin/codex", shim.display()));
        ours.push(first_line(&mut command));
        theirs.push(first_line(&mut docker_run(&image, &sandbox.container(&format!("line-{round}")), &work, &shim)));
    }
    (ours.split_off(1), theirs.split_off(1))
}

/// Returns the equivalent `docker run` command. `codex-docker` has already created its network.
fn docker_run(image: &str, name: &str, work: &Path, shim: &Path) -> Command {
    let mut command = Command::new("docker");
    command.args(["run", "--rm", "--init", "--stop-signal", "SIGINT", "--network", "codex-docker", "--name", name]);
    command.args(["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pids-limit", "4096", "--memory", "8g"]);
    for capability in ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID"] {
        command.args(["--cap-add", capability]);
    }
    command.args(["--ulimit", "core=0", "--tmpfs", "/run", "--ipc", "private", "--workdir", "/workspace/work"]);
    command.args(["--volume", &format!("{}:/workspace/work", work.display())]);
    command.args(["--volume", &format!("{}:/usr/local/sbin/codex:ro", shim.display())]);
    command.args([image, "codex", "exec", "--json", "-"]);
    command
}

/// Measures the export from a worktree with changes and an agent repository, laid out as in the orchestrator's home.
fn bringing_out(folder: &Path) -> (Vec<Duration>, Vec<Duration>) {
    let (image, sandbox) = (docker::codex_image(), Sandbox::new());
    let tree = folder.join("tree");
    for n in 0..FILES {
        let path = tree.join(format!("src/{}/file{n}.txt", n % 50));
        fs_err::create_dir_all(path.parent().expect("a folder")).expect("a new folder can be written");
        fs_err::write(path, format!("line {n}\n").repeat(40)).expect("written");
    }
    git(&tree, &["init", "--quiet", "--initial-branch", "codex/bench"]);
    git(&tree, &["add", "--all"]);
    git(&tree, &["-c", "user.name=a", "-c", "user.email=b", "commit", "--quiet", "--message", "many files"]);
    let since = git(&tree, &["rev-parse", "HEAD"]).trim().to_owned();
    let (twin, objects, message) = (folder.join("agent.git"), folder.join("objects"), folder.join("message"));
    fs_err::write(&message, "what was done\n\nTask-Id: bench\nRun: 1\n").expect("written");
    fs_err::rename(tree.join(".git"), &twin).expect("moved");
    fs_err::rename(twin.join("objects"), &objects).expect("moved");
    fs_err::create_dir_all(twin.join("objects/info")).expect("made");
    fs_err::write(twin.join("objects/info/alternates"), "/git/objects\n").expect("written");
    fs_err::write(tree.join(".git"), "gitdir: nowhere\n").expect("written");
    let (mut harvests, mut empties) = (vec![], vec![]);
    for round in 0..=ROUNDS {
        for n in 0..CHANGED {
            fs_err::write(tree.join(format!("src/{}/file{n}.txt", n % 50)), format!("round {round}, line {n}\n"))
                .expect("written");
        }
        let out = folder.join(format!("out-{round}"));
        let mut command = Command::new(BINARY);
        command.args([
            "codex-docker",
            "harvest",
            "--branch",
            "codex/bench",
            "--since",
            &since,
            "--image",
            &image,
            "--label",
            &sandbox.label(),
        ]);
        for (flag, path) in
            [("--worktree", &tree), ("--git-dir", &twin), ("--objects", &objects), ("--out", &out), ("--message", &message)]
        {
            command.arg(flag).arg(path);
        }
        harvests.push(whole(&mut command));
        assert!(out.join("bundle").is_file(), "the export wrote a bundle");
        let name = sandbox.container(&format!("empty-{round}"));
        empties.push(whole(Command::new("docker").args([
            "run",
            "--rm",
            "--init",
            "--network",
            "none",
            "--name",
            &name,
            &image,
            "true",
        ])));
    }
    (harvests.split_off(1), empties.split_off(1))
}

fn whole(command: &mut Command) -> Duration {
    let begun = Instant::now();
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    let taken = begun.elapsed();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    taken
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().expect("git is installed");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
