//! What `reap` ends and deletes: only what markers in the state folder identify as ours, whatever the labels say. Foreign containers and
//! folders must not change.

use std::os::unix::fs::symlink;
use std::path::Path;

use testkit::docker::{BASE_IMAGE, docker, try_docker};

use super::hand::Hand;

/// Builds an image with our labels, which point to a folder.
fn labelled_image(hand: &Hand, tag: &str, state: &Path, more: &str) -> String {
    let dockerfile = format!(
        "FROM {BASE_IMAGE}\nLABEL codex-docker.managed=true codex-docker.state={} codex-docker.label.{}\n{more}",
        state.display(),
        hand.label()
    );
    hand.build(tag, &dockerfile)
}

fn is_running(container: &str) -> bool {
    let found = try_docker(&["inspect", "--format", "{{.State.Running}}", container]);
    String::from_utf8_lossy(&found.stdout).trim() == "true"
}

/// Creates a folder with a file that must not be deleted.
fn precious(path: &Path) {
    fs_err::create_dir_all(path.join("below")).expect("made");
    fs_err::write(path.join("below/file"), "kept").expect("written");
}

#[track_caller]
fn is_whole(path: &Path) {
    assert_eq!(fs_err::read_to_string(path.join("below/file")).expect("the file exists"), "kept");
}

#[test]
fn a_container_with_the_labels_of_its_image_is_left_alone_and_so_is_every_folder_they_name() {
    let hand = Hand::with_shell();
    let elsewhere = hand.root().join("precious");
    let name = hand.name("foreign");
    let like_a_run = hand.state().join(&name);
    for folder in [&elsewhere, &like_a_run] {
        precious(folder);
        fs_err::write(folder.join("lock"), "").expect("written");
    }
    let volume = "VOLUME /codex-docker/in";
    for (tag, state, more) in [("elsewhere", &elsewhere, ""), ("like-a-run", &like_a_run, ""), ("volume", &elsewhere, volume)] {
        let image = labelled_image(&hand, tag, state, more);
        docker(&["run", "--detach", "--network=none", "--name", &name, &image, "sleep", "1000000"]);
        assert_eq!(hand.run(["reap", "--label", &hand.label()]).well(), "", "{tag}");
        assert_eq!(hand.run(["reap"]).well(), "", "{tag}");
        assert!(hand.run(["list"]).well().contains(&format!("{name}\trunning\telsewhere")), "{tag}");
        let stopped = hand.run(["stop", &name]);
        assert!(stopped.stderr.contains("was not created by codex-docker"), "{tag}: {stopped:?}");
        assert!(is_running(&name), "{tag}");
        docker(&["rm", "--force", "--volumes", &name]);
    }
    is_whole(&elsewhere);
    is_whole(&like_a_run);
}

#[test]
fn a_foreign_container_in_the_place_of_ours_is_left_alone() {
    let hand = Hand::with_shell().named("taken");
    let name = hand.orphan();
    docker(&["rm", "--force", &name]);
    let image = labelled_image(&hand, "taken", &hand.state().join(&name), "");
    docker(&["run", "--detach", "--network=none", "--name", &name, &image, "sleep", "1000000"]);
    let begun = hand.run(["true"]);
    assert!(begun.code == Some(125) && begun.stderr.contains("does not belong to this run"), "{begun:?}");
    hand.run(["reap"]).well();
    assert!(is_running(&name), "the foreign container with the same name keeps running");
    assert!(hand.folders().is_empty(), "the folder of our own container is deleted: {:?}", hand.folders());
    docker(&["rm", "--force", &name]);
}

#[test]
fn what_a_death_at_any_step_leaves_is_swept_up() {
    let hand = Hand::with_shell();
    // `codex-docker` was killed after writing the marker and before creating the container: only a folder exists.
    let name = hand.orphan();
    docker(&["rm", "--force", &name]);
    assert_eq!(hand.run(["reap", "--label", &hand.label()]).well().trim(), name);
    assert!(hand.folders().is_empty());
    // `codex-docker` was killed before starting the container: a container that cannot start is in the same state.
    let mut command = hand.command(["true"]);
    let failed = command.env("CODEX_MOUNT_MAPS_RO", "/etc/passwd=/proc/version").output().expect("`codex-docker` can be started");
    assert!(String::from_utf8_lossy(&failed.stderr).contains("could not start the container"), "{failed:?}");
    assert_eq!((hand.containers().len(), hand.folders().len()), (1, 1));
    assert_eq!(hand.run(["reap"]).well().lines().count(), 1);
    // `codex-docker` was killed after starting the container.
    hand.orphan();
    assert_eq!(hand.run(["reap"]).well().lines().count(), 1);
    assert!(hand.containers().is_empty() && hand.folders().is_empty(), "{:?}", hand.folders());
}

#[test]
fn each_state_folder_has_its_own_containers() {
    let hand = Hand::with_shell();
    let name = hand.orphan();
    let other = hand.root().join("other-state");
    let reap_there = |label: &[&str]| {
        let words = ["reap"].iter().chain(label).copied();
        let output = hand.command(words).env("CODEX_DOCKER_STATE", &other).output().expect("`codex-docker` can be started");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(reap_there(&[]), "", "`reap` does not end the container of another state folder");
    assert_eq!(
        reap_there(&["--label", &hand.label()]),
        "",
        "a label does not make `reap` end a container of another state folder"
    );
    // A copy of a home has the same markers. The container belongs to the original.
    let copied = std::process::Command::new("cp").arg("-a").arg(hand.state()).arg(&other).status().expect("cp can be started");
    assert!(copied.success());
    reap_there(&[]);
    assert!(is_running(&name) && hand.state().join(&name).join("run.json").exists());
    assert!(!other.join(&name).exists(), "the copied run folder, which nobody holds, is deleted");
    assert_eq!(hand.run(["reap"]).well().trim(), name);
}

#[test]
fn links_lead_to_a_state_folder_but_not_out_of_it() {
    let hand = Hand::with_shell();
    let (real, link) = (hand.root().join("real-state"), hand.root().join("linked-state"));
    fs_err::create_dir(&real).expect("made");
    symlink(&real, &link).expect("linked");
    let hand = hand.with("CODEX_DOCKER_STATE", &link.to_string_lossy());
    let name = hand.orphan();
    let outside = hand.root().join("outside").join(&name);
    precious(&outside);
    for file in ["run.json", "lock"] {
        fs_err::copy(real.join(&name).join(file), outside.join(file)).expect("copied");
    }
    // The run's folder is replaced by a symbolic link to a folder that looks like a run's folder.
    let aside = hand.root().join("aside");
    fs_err::rename(real.join(&name), &aside).expect("moved");
    symlink(&outside, real.join(&name)).expect("linked");
    hand.run(["reap"]);
    is_whole(&outside);
    fs_err::remove_file(real.join(&name)).expect("removed");
    fs_err::rename(&aside, real.join(&name)).expect("the folder can be moved back");
    if !hand.containers().is_empty() {
        assert_eq!(hand.run(["reap"]).well().trim(), name, "`reap` follows the symbolic link in the user's setting");
    }
    is_whole(&outside);
    assert!(hand.containers().is_empty());
}

#[test]
fn a_container_of_an_older_version_is_ended_and_its_folder_stays() {
    let hand = Hand::with_shell();
    let name = hand.name("older");
    let folder = hand.state().join(&name);
    precious(&folder);
    fs_err::create_dir(folder.join("in")).expect("made");
    let lock = fs_err::File::create(folder.join("lock")).expect("made").into_parts().0;
    lock.lock().expect("free");
    let mount = format!("type=bind,source={}/in,target=/codex-docker/in,readonly", folder.display());
    let (state, label) = (format!("codex-docker.state={}", folder.display()), format!("codex-docker.label.{}", hand.label()));
    let labels = ["--label", "codex-docker.managed=true", "--label", &state, "--label", &label];
    let run = ["run", "--detach", "--network=none", "--name", &name, "--mount", &mount];
    docker(&[&run[..], &labels, &[BASE_IMAGE, "sleep", "1000000"]].concat());
    assert_eq!(
        hand.run(["reap", "--label", &hand.label()]).well(),
        "",
        "`reap` keeps a container that an older `codex-docker` holds"
    );
    drop(lock);
    let elsewhere = hand.command(["reap"]).env("CODEX_DOCKER_STATE", hand.root().join("other-state")).output();
    assert!(
        elsewhere.expect("`codex-docker` can be started").status.success() && is_running(&name),
        "`reap` keeps a container of another state folder"
    );
    let reaped = hand.run(["reap", "--label", &hand.label()]);
    assert_eq!(reaped.well().trim(), name);
    assert!(reaped.stderr.contains("was not deleted"), "{reaped:?}");
    assert!(!try_docker(&["inspect", &name]).status.success());
    is_whole(&folder);
}
