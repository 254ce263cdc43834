//! Layers in real containers: what a run writes in one is there in the next run, and a lower folder never changes.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use testkit::docker::{docker, try_docker};

use super::hand::{Hand, USER};

/// Returns the description of a layer.
fn layer(target: &str, lower: Option<&Path>, upper: &Path) -> Value {
    json!({ "target": target, "lower": lower, "upper": upper })
}

/// Creates a folder with a file, as a setup would leave it.
fn lower(hand: &Hand) -> PathBuf {
    let lower = hand.root().join("lower");
    fs_err::create_dir_all(lower.join("package")).expect("a new folder");
    fs_err::write(lower.join("package/file"), "lower\n").expect("writable");
    lower
}

#[test]
fn what_a_run_writes_in_a_layer_is_there_in_the_next_run_and_the_lower_folder_never_changes() {
    let hand = Hand::with_shell();
    let (lower, upper) = (lower(&hand), hand.root().join("upper"));
    fs_err::create_dir(hand.work().join("node_modules")).expect("a new folder");
    let layers = json!([
        layer("/workspace/work/node_modules", Some(&lower), &upper.join("0")),
        layer("~/.cache/pip", None, &upper.join("1")),
    ]);
    let hand = hand.with("CODEX_DOCKER_LAYERS", &layers.to_string());
    let first = "set -e; cat node_modules/package/file; echo upper > node_modules/package/file; rm -r node_modules/package; \
                 mkdir node_modules/package; echo new > node_modules/new; echo cached > ~/.cache/pip/x; stat -c %u ~/.cache/pip";
    assert_eq!(hand.run([first]).well(), "lower\n0\n");
    let second = "ls -A node_modules node_modules/package; cat node_modules/new ~/.cache/pip/x";
    assert_eq!(hand.run([second]).well(), "node_modules:\nnew\npackage\n\nnode_modules/package:\nnew\ncached\n");
    assert_eq!(fs_err::read_to_string(lower.join("package/file")).expect("there"), "lower\n");
    assert_eq!(fs_err::read_dir(hand.work().join("node_modules")).expect("there").count(), 0, "the worktree stays empty");
    let mounted = docker(&["volume", "ls", "--quiet"]);
    let is_ours = |name: &&str| docker(&["volume", "inspect", name]).contains(&hand.root().display().to_string());
    assert_eq!(mounted.lines().filter(is_ours).count(), 0, "the volumes are gone with the containers");
}

#[test]
fn a_plain_users_layers_belong_to_root_in_the_container() {
    let hand = Hand::with_shell();
    let (lower, upper) = (lower(&hand), hand.home().join("upper"));
    let layers = json!([layer("/opt/x", Some(&lower), &upper.join("0")), layer("~/.cache/pip", None, &upper.join("1"))]);
    let hand = hand.with("CODEX_DOCKER_LAYERS", &layers.to_string());
    let script = "stat -c %u /opt/x ~/.cache/pip; echo x > /opt/x/mine; echo x > ~/.cache/pip/mine; cat /opt/x/package/file";
    assert_eq!(hand.run_as_plain_user([script]).well(), "0\n0\nlower\n");
    assert_eq!(hand.run_as_plain_user(["cat /opt/x/mine ~/.cache/pip/mine"]).well(), "x\nx\n");
    assert_ne!(USER, 0);
}

#[test]
fn the_caller_as_user_can_write_to_a_layer_and_next_to_it() {
    let hand = Hand::with_shell().with("CODEX_DOCKER_USER", "caller");
    let upper = hand.home().join("upper");
    let hand = hand.with("CODEX_DOCKER_LAYERS", &json!([layer("~/.cache/a/pip", None, &upper)]).to_string());
    let script = "set -e; echo x > ~/.cache/a/pip/mine; echo x > ~/.cache/other; id -u";
    assert_eq!(hand.run_as_plain_user([script]).well(), format!("{USER}\n"));
    assert_eq!(hand.run_as_plain_user(["cat ~/.cache/a/pip/mine; ls ~/.cache"]).well(), "x\na\n");
}

#[test]
fn a_new_layer_starts_with_the_files_of_the_image() {
    let hand = Hand::with_shell();
    let upper = hand.root().join("upper");
    let hand = hand.with("CODEX_DOCKER_LAYERS", &json!([layer("/etc/alternatives", None, &upper)]).to_string());
    let said = hand.run(["ls /etc/alternatives | wc -l; touch /etc/alternatives/mine"]);
    assert!(said.well().trim().parse::<u32>().expect("a number") > 3, "{said:?}");
    assert!(upper.join("data/mine").exists());
}

#[test]
fn a_mount_point_that_an_agent_replaced_costs_only_its_layer() {
    let hand = Hand::with_shell();
    let lower = lower(&hand);
    let outside = hand.root().join("outside");
    fs_err::create_dir_all(outside.join("modules")).expect("a new folder");
    let names = ["file", "link", "link/modules"];
    fs_err::write(hand.work().join("file"), "a file\n").expect("writable");
    symlink(&outside, hand.work().join("link")).expect("writable");
    let upper = hand.root().join("upper");
    let layers = names.iter().enumerate();
    let layers = layers.map(|(n, name)| layer(&format!("/workspace/work/{name}"), Some(&lower), &upper.join(n.to_string())));
    let layers: Vec<Value> = layers.chain([layer("/opt/x", Some(&lower), &upper.join("x"))]).collect();
    let hand = hand.with("CODEX_DOCKER_LAYERS", &json!(layers).to_string());
    let said = hand.run(["cat file; cat /opt/x/package/file; grep -c workspace/work/ /proc/mounts"]);
    assert_eq!(said.stdout, "a file\nlower\n0\n");
    for name in names {
        assert!(said.stderr.contains(&format!("warning: the layer at `/workspace/work/{name}` is not mounted")), "{said:?}");
    }
    assert_eq!(fs_err::read_dir(&outside).expect("there").count(), 1);
}

#[test]
fn a_file_of_the_image_at_the_place_of_a_layer_costs_only_this_layer() {
    let hand = Hand::with_shell();
    let (lower, upper) = (lower(&hand), hand.root().join("upper"));
    let layers = json!([
        layer("/etc/passwd", Some(&lower), &upper.join("0")),
        layer("/etc/hostname/below", None, &upper.join("1")),
        layer("/opt/x", Some(&lower), &upper.join("2")),
    ]);
    let hand = hand.with("CODEX_DOCKER_LAYERS", &layers.to_string());
    let said = hand.run(["cat /opt/x/package/file; head -c 4 /etc/passwd"]);
    assert_eq!((said.well(), hand.containers().len()), ("lower\nroot", 0), "{said:?}");
    assert!(said.stderr.contains("the layer at `/etc/passwd` is not mounted"), "{said:?}");
}

#[test]
fn where_overlays_cannot_be_mounted_the_files_are_copied_once() {
    let hand = Hand::with_shell();
    let lower = lower(&hand);
    // An overlay cannot store its files in another overlay's folder.
    let disk = hand.root().join("disk");
    for name in ["disk", "l", "u", "w"] {
        fs_err::create_dir(hand.root().join(name)).expect("a new folder");
    }
    let root = hand.root().display();
    let options = format!("lowerdir={root}/l,upperdir={root}/u,workdir={root}/w");
    let mount = std::process::Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(&disk).status();
    assert!(mount.expect("`mount` can be started").success(), "tests run as root");
    let unmount = Unmount(disk.clone());
    let checked = hand.run(["check", "--json", "--layers-in", &disk.display().to_string()]);
    let report: Value = serde_json::from_str(checked.well()).expect("JSON");
    assert_eq!((&report["layers"]["overlay"], &report["layers"]["fallback"]), (&json!(false), &json!("copy")), "{report}");
    assert!(report["layers"]["reason"].as_str().is_some_and(|reason| reason.contains("mount")), "{report}");
    let hand = hand.with("CODEX_DOCKER_LAYERS", &json!([layer("/opt/x", Some(&lower), &disk.join("upper"))]).to_string());
    let said = hand.run(["cat /opt/x/package/file; echo mine > /opt/x/package/file"]);
    assert!(said.well() == "lower\n" && said.stderr.contains("copying the files"), "{said:?}");
    let again = hand.run(["cat /opt/x/package/file"]);
    assert!(again.well() == "mine\n" && again.stderr.is_empty(), "{again:?}");
    assert_eq!(fs_err::read_to_string(lower.join("package/file")).expect("there"), "lower\n");
    assert!(hand.containers().is_empty() && hand.folders().is_empty(), "{:?}", hand.folders());
    drop(unmount);
}

/// Unmounts a file system when it is dropped.
struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "the file system is unused");
    }
}

#[test]
fn a_check_finds_out_whether_overlays_work_and_leaves_nothing() {
    let hand = Hand::new();
    let folder = hand.home().join("a, folder: with\\signs");
    fs_err::create_dir(&folder).expect("a new folder");
    let said = hand.run_as_plain_user(["check", "--layers-in", &folder.display().to_string()]);
    assert_eq!(said.code, Some(0), "{said:?}");
    rustix::fs::chown(&folder, Some(rustix::fs::Uid::from_raw(USER)), None).expect("tests run as root");
    let said = hand.run_as_plain_user(["check", "--json", "--layers-in", &folder.display().to_string()]);
    let report: Value = serde_json::from_str(said.well()).expect("JSON");
    assert_eq!((&report["layers"]["overlay"], &report["layers"]["reason"]), (&json!(true), &Value::Null), "{report}");
    assert_eq!(fs_err::read_dir(&folder).expect("there").count(), 0);
    assert!(hand.containers().is_empty() && hand.folders().is_empty(), "{:?}", hand.folders());
}

#[test]
fn a_killed_run_continues_with_its_layers_and_they_are_reaped_with_it() {
    let hand = Hand::with_shell().named("layers");
    let (lower, upper) = (lower(&hand), hand.root().join("upper"));
    let hand = hand.with("CODEX_DOCKER_LAYERS", &json!([layer("/opt/x", Some(&lower), &upper)]).to_string());
    let name = hand.orphan();
    let volumes = docker(&["inspect", "--format", "{{range .Mounts}}{{.Name}} {{end}}", &name]);
    let volume = volumes.split_whitespace().next().expect("the overlay is a volume").to_owned();
    assert!(try_docker(&["volume", "inspect", &volume]).status.success());
    hand.run(["reap"]).well();
    assert!(!try_docker(&["volume", "inspect", &volume]).status.success(), "the volume is removed with the container");
    assert!(hand.containers().is_empty());
}
