//! What a container can do to the machine and to other containers. Each test acts inside a container, and checks from outside.

use std::os::unix::fs::MetadataExt as _;

use testkit::small_disk::SmallDisk;

use super::hand::{Hand, USER};

#[test]
fn root_in_the_container_has_what_a_package_manager_needs_and_no_more() {
    let said = Hand::with_shell().run(["id -u; grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status; mount -t tmpfs x /mnt; mknod /tmp/d b 8 0; chroot / true && ls /var/run/docker.sock"]);
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert_eq!(lines, ["0", "CapEff:\t00000000000000fb", "CapBnd:\t00000000000000fb", "NoNewPrivs:\t1"], "{said:?}");
    for refused in ["mount:", "mknod:"] {
        assert!(said.stderr.contains(refused), "`{refused}` is missing in {}", said.stderr);
    }
}

#[test]
fn what_root_makes_is_the_callers_in_the_end_and_no_setuid_bit_is_left() {
    let hand = Hand::with_shell();
    let script = "mkdir -p a/b; echo x > a/b/c; ln -s /etc/shadow link; cp /bin/true suid; chmod 6755 suid; touch \"$(printf 'odd\\nname')\"";
    hand.run_as_plain_user([script]).well();
    for name in ["a", "a/b", "a/b/c", "link", "suid", "odd\nname"] {
        let found = fs_err::symlink_metadata(hand.work().join(name)).expect("made");
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o6000), (USER, USER, 0), "{name}");
    }
    assert_eq!(fs_err::metadata("/etc/shadow").expect("there").uid(), 0, "no link was followed");
    assert!(hand.folders().is_empty());
}

#[test]
fn the_caller_as_user_can_write_the_folder_and_what_is_temporary() {
    let hand = Hand::with_shell().with("CODEX_DOCKER_USER", "caller");
    let said = hand.run(["touch /workspace/work/mine /tmp/t ~/h && touch /usr/local/x /etc/x; grep CapEff /proc/self/status"]);
    assert_eq!(said.well(), "CapEff:\t0000000000000000\n");
    assert!(said.stderr.contains("Read-only file system"), "{}", said.stderr);
    assert!(hand.work().join("mine").exists());
}

#[test]
fn without_a_network_there_is_only_the_loopback() {
    let hand = Hand::with_shell().with("CODEX_DOCKER_NETWORK", "none");
    assert_eq!(hand.run(["ls /sys/class/net"]).well(), "lo\n");
}

#[test]
fn memory_is_bounded_and_the_machine_does_not_notice() {
    let hand = Hand::with_shell().with("CODEX_DOCKER_MEMORY", "64m");
    let said = hand.run(["exec dd if=/dev/zero of=/dev/null bs=500M count=1"]);
    assert_eq!(said.code, Some(137), "{said:?}");
    assert!(said.stderr.contains("exceeded its memory limit of 64 MiB"), "{}", said.stderr);
}

#[test]
fn a_fork_bomb_stays_in_its_container() {
    let hand = Hand::with_shell().with("CODEX_DOCKER_PIDS", "100");
    let bomb = "f() { f 2>/dev/null & f 2>/dev/null & }; f; sleep 2; echo over";
    let said = hand.run([bomb]);
    assert!(said.code.is_some(), "{said:?}");
    assert!(hand.containers().is_empty() && hand.run(["echo fine"]).well() == "fine\n");
}

#[test]
fn containers_of_an_open_network_do_not_see_each_other() {
    let hand = Hand::with_shell();
    let script =
        "hostname -i; touch listening; socat -u TCP-LISTEN:9000,fork OPEN:/dev/null & while [ ! -e done ]; do sleep 0.05; done";
    let mut server = hand.start(script);
    let address = server.line();
    let probe = format!(
        "until socat -u OPEN:/dev/null TCP:127.0.0.1:9,connect-timeout=1; do break; done; socat -u OPEN:/dev/null TCP:{address}:9000,connect-timeout=2 && echo reached"
    );
    let said = hand.run([probe]);
    fs_err::write(hand.work().join("done"), "").expect("written");
    server.end();
    assert!(!said.stdout.contains("reached"), "{said:?}");
}

#[test]
fn a_full_disk_ends_the_run_before_the_machine_is_full() {
    let hand = Hand::with_shell();
    let disk = SmallDisk::mount(&hand.root().join("disk"), 64);
    let hand = hand.with("CODEX_DOCKER_STATE", &disk.path().join("run").to_string_lossy()).with("CODEX_DOCKER_FREE_DISK", "16m");
    let said = hand.run(["exec 2> /dev/null; head -c 200m /dev/zero > /codex-docker/out/fill; sleep 1000000"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("stopping the run: only"), "{}", said.stderr);
    assert!(hand.containers().is_empty());
}
