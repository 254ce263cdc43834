//! Tests the script that restores `PATH` in login shells, with a real shell and the profiles of several systems.
//!
//! The black-box tests check that login shells in a container run the script.

use std::process::{Command, Output};

const SCRIPT: &str = include_str!("../../src/profile.sh");

/// The `PATH` in Debian's `/etc/profile`, for root and for other users.
const ROOT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const USER: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games";

#[expect(clippy::disallowed_methods, reason = "the test runs a script in a shell")]
fn shell(script: &str, path: &str) -> Output {
    Command::new("/bin/sh").args(["-c", script]).env_clear().env("PATH", path).output().expect("a shell is installed")
}

/// Returns the `PATH` after the script, if the container started with `image` and the profile has set `profile`.
fn restored(image: &str, profile: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("path");
    fs_err::write(&file, format!("{image}\n")).expect("a temporary file");
    let script = SCRIPT.replace("/run/codex-docker-path", file.to_str().expect("text"));
    // The script must not end a shell that exits on unset variables or failed commands.
    let script = format!("set -eu\n{script}\necho \"$PATH\"\nset");
    let output = shell(&script, profile);
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!said.contains("\ncodex_docker_"), "the script leaves no variables behind: {said}");
    said.lines().next().expect("the path").to_owned()
}

#[test]
fn the_path_of_the_image_comes_back() {
    let image = format!("/usr/local/go/bin:{ROOT}");
    assert_eq!(restored(&image, ROOT), image);
    assert_eq!(restored(&image, USER), format!("{image}:/usr/local/games:/usr/games"));
    assert_eq!(restored(ROOT, ROOT), ROOT);
}

#[test]
fn what_the_profile_adds_keeps_its_place() {
    let profile = format!("/opt/front:{ROOT}:/opt/back");
    assert_eq!(
        restored(&format!("/usr/local/go/bin:{ROOT}"), &profile),
        format!("/opt/front:/usr/local/go/bin:{ROOT}:/opt/back")
    );
    assert_eq!(restored("/opt/with space:/usr/bin", "/x y:/usr/bin"), "/x y:/opt/with space:/usr/bin");
}

#[test]
fn folders_of_the_system_do_not_go_before_what_the_image_chose() {
    let image = "/opt/tool/bin:/usr/bin:/bin";
    assert_eq!(restored(image, ROOT), format!("{image}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin"));
}

#[test]
fn without_the_file_nothing_changes() {
    let script = format!("{}\necho \"$PATH\"", SCRIPT.replace("/run/codex-docker-path", "/nowhere/path"));
    let output = shell(&script, USER);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), USER);
}
