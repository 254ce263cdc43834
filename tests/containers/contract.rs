//! What `codex-docker` has in common with the public script of the same name: the same mounts at the same paths. A shell
//! replaces Codex.

use testkit::docker::docker;

use super::hand::Hand;

/// A volume that is removed at the end of a test.
struct Volume(String);

impl Volume {
    fn new(hand: &Hand) -> Self {
        let name = hand.name("volume");
        docker(&["volume", "create", &name]);
        Self(name)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        testkit::docker::try_docker(&["volume", "rm", "--force", &self.0]);
    }
}

#[test]
fn a_named_workspace_is_a_folder_of_the_container() {
    let hand = Hand::with_shell().with("CODEX_WORKSPACE_DIR", "/srv/app");
    fs_err::write(hand.work().join("mine"), "").expect("written");
    let said = hand.run(["pwd; ls -A . /workspace"]);
    assert_eq!(said.well(), "/srv/app\n.:\n\n/workspace:\n", "the workspace is empty if nothing is mounted: {said:?}");
    assert!(said.stderr.contains("warning: nothing is mounted at `/srv/app`"), "{said:?}");
    let map = format!("{}=/srv/app", hand.work().display());
    let said = hand.with("CODEX_MOUNT_MAPS", &map).run(["pwd; ls -A"]);
    assert_eq!((said.well(), said.stderr.as_str()), ("/srv/app\nmine\n", ""));
}

#[test]
fn a_named_volume_keeps_its_files_and_may_be_read_only() {
    let hand = Hand::with_shell();
    let volume = Volume::new(&hand);
    let hand = hand.with("CODEX_VOLUME_MOUNTS", &format!("{}=/var/cache/x", volume.0));
    hand.run(["echo kept > /var/cache/x/file"]).well();
    let hand = hand.with("CODEX_VOLUME_MOUNTS", &format!("{0}=/one,{0}=/two:ro", volume.0));
    let said = hand.run(["cat /one/file /two/file; touch /one/more; touch /two/more || echo refused"]);
    assert_eq!(said.well(), "kept\nkept\nrefused\n");
}

#[test]
fn a_folder_of_a_volume_is_mounted_or_refused_but_never_replaced_by_the_whole_volume() {
    let hand = Hand::with_shell();
    let volume = Volume::new(&hand);
    let hand = hand.with("CODEX_VOLUME_MOUNTS", &format!("{}=/all", volume.0));
    hand.run(["mkdir /all/part; echo part > /all/part/file; echo secret > /all/secret"]).well();
    let said = hand.with("CODEX_VOLUME_MOUNTS", &format!("{}/part=/part", volume.0)).run(["ls /part"]);
    let version = docker(&["version", "--format", "{{.Server.APIVersion}}"]);
    let minor: u32 = version.trim().split_once('.').and_then(|(_, minor)| minor.parse().ok()).expect("a version");
    if minor >= 45 {
        assert_eq!(said.well(), "file\n");
    } else {
        assert_eq!((said.code, said.stdout.as_str()), (Some(125), ""), "{said:?}");
        assert!(said.stderr.contains("too old to mount a folder of the volume"), "{said:?}");
    }
}

#[test]
fn what_is_missing_is_left_out_with_a_warning() {
    let hand = Hand::with_shell().with("CODEX_MOUNT_PATHS", "/nowhere/a:/etc/hostname").with("CODEX_HOME", "/nowhere/codex");
    let said = hand.run(["echo $CODEX_HOME; ls -d /nowhere || echo nothing"]);
    assert_eq!(said.well(), "/nowhere/codex\nnothing\n");
    for warned in ["`/nowhere/a` in CODEX_MOUNT_PATHS not found", "CODEX_HOME `/nowhere/codex` not found"] {
        assert!(said.stderr.contains(warned), "{warned}: {said:?}");
    }
}

#[test]
fn the_users_codex_home_and_the_artifacts_are_below_the_home_of_the_container() {
    for user in ["root", "caller"] {
        let hand = Hand::with_shell().with("CODEX_DOCKER_USER", user);
        for folder in [".codex", "artifacts"] {
            fs_err::create_dir(hand.home().join(folder)).expect("made");
            fs_err::write(hand.home().join(folder).join("mine"), "").expect("written");
        }
        let artifacts = hand.home().join("artifacts").display().to_string();
        let said = hand.with("CODEX_ARTIFACTS_DIR", &artifacts).run([format!("ls ~/.codex ~/.artifacts {artifacts}")]);
        assert_eq!(said.well().matches("mine").count(), 3, "{user}: {said:?}");
    }
}
