//! What a run installs anywhere in the container is there in the next run, even if the run or its `codex-docker` was killed.

use serde_json::Value;
use testkit::docker::{BASE_IMAGE, docker, try_docker};

use super::hand::Hand;

/// Returns a user whose runs keep what they install in an image, and the image's name.
fn keeping_hand() -> (Hand, String) {
    let hand = Hand::with_shell();
    let image = hand.image("kept");
    (hand.with("CODEX_DOCKER_KEEP_AS", &image), image)
}

fn exists(image: &str) -> bool {
    try_docker(&["image", "inspect", image]).status.success()
}

fn id_of(image: &str) -> String {
    docker(&["image", "inspect", "--format", "{{.Id}}", image])
}

#[test]
fn what_a_run_installs_anywhere_is_there_in_the_next_run() {
    let (hand, image) = keeping_hand();
    let package = "set -e; mkdir -p p/DEBIAN p/opt/tool; echo tool > p/opt/tool/x; \
                   printf 'Package: tool\\nVersion: 1\\nArchitecture: all\\nMaintainer: me\\nDescription: x\\n' > p/DEBIAN/control; \
                   dpkg-deb --build p /tmp/tool.deb > /dev/null; apt-get install -y /tmp/tool.deb > /dev/null 2>&1";
    let files = "echo b > /usr/local/bin/x; mkdir -p /root/.local; echo z > /root/.local/z; echo a > /etc/a; rm /etc/issue";
    hand.run([format!("{package}; {files}")]).well();
    assert!(exists(&image) && hand.containers().is_empty());
    let next = hand;
    let said =
        next.run(["dpkg-query -W -f '${Status}\\n' tool; cat /opt/tool/x /usr/local/bin/x /root/.local/z /etc/a; ls /etc/issue"]);
    assert_eq!(said.stdout, "install ok installed\ntool\nb\nz\na\n", "{said:?}");
    let before = id_of(&image);
    next.run(["echo 2 > /etc/a; rm /usr/local/bin/x"]).well();
    assert_ne!(id_of(&image), before);
    assert_eq!(next.run(["cat /etc/a; ls /usr/local/bin/x"]).stdout, "2\n");
}

#[test]
fn the_kept_image_looks_like_the_original_one() {
    let (hand, image) = keeping_hand();
    let original = hand.build(
        "original",
        &format!("FROM {}\nENV A=b\nENTRYPOINT [\"/x\"]\nCMD [\"y\"]\nLABEL mine=1", testkit::docker::codex_image()),
    );
    let hand = hand.with("IMAGE_NAME", &original).with("CODEX_CONTAINER_ENV_TOKEN", "a-secret-value");
    hand.run(["echo x > /opt/x"]).well();
    let config = |name: &str| -> Value {
        serde_json::from_str(&docker(&["image", "inspect", "--format", "{{json .Config}}", name])).expect("JSON")
    };
    let (before, after) = (config(&original), config(&image));
    for key in ["Env", "Entrypoint", "Cmd", "WorkingDir"] {
        assert_eq!(before[key], after[key], "{key}");
    }
    let labels = after["Labels"].as_object().expect("labels");
    assert_eq!(labels["mine"], "1");
    assert_eq!(labels["codex-docker.kept.base"].as_str().map(str::to_owned), Some(id_of(&original).trim().to_owned()));
    assert!(!after.to_string().contains("a-secret-value"), "{after}");
    let listed = hand.run(["kept", "list", "--json", "--label", &hand.label()]);
    let listed: Vec<Value> = serde_json::from_str(listed.well()).expect("JSON");
    assert_eq!((listed.len(), listed[0]["names"][0].as_str()), (1, Some(image.as_str())));
    assert_eq!(hand.run(["kept", "remove", "--label", &hand.label()]).well().trim(), image);
    assert!(!exists(&image) && exists(&original));
    assert_eq!(hand.run(["kept", "remove"]).code, Some(2), "without a label, nothing is removed");
}

#[test]
fn a_run_that_changes_nothing_keeps_no_image() {
    let (hand, image) = keeping_hand();
    let nothing = "echo x > made; echo x > /tmp/x; echo x > /var/tmp/x; mkdir -p /run/y; bash -lc true; git init -q .";
    hand.run([nothing]).well();
    assert!(!exists(&image), "{}", docker(&["history", &image]));
    let as_caller = hand.with("CODEX_DOCKER_USER", "caller");
    as_caller.run(["touch /tmp/x ~/y"]).well();
    assert!(!exists(&image));
}

#[test]
fn a_stopped_run_and_an_abandoned_one_keep_what_they_installed() {
    let (hand, image) = keeping_hand();
    let mut stopped = hand.start("echo 1 > /opt/stopped; echo begun; sleep 1000000");
    stopped.line();
    stopped.signal(rustix::process::Signal::TERM);
    assert_eq!(stopped.end().code, Some(143));
    let hand = hand.with("IMAGE_NAME", &image);
    let mut killed = hand.start("echo 2 > /opt/killed; echo begun; sleep 1000000");
    killed.line();
    killed.signal(rustix::process::Signal::KILL);
    killed.end();
    assert_eq!(hand.run(["reap"]).well().lines().count(), 1);
    assert_eq!(hand.run(["cat /opt/stopped /opt/killed"]).well(), "1\n2\n");
    assert!(hand.containers().is_empty() && hand.folders().is_empty(), "{:?}", hand.folders());
}

#[test]
fn a_run_that_continues_after_a_kill_keeps_what_it_installed() {
    let (hand, image) = keeping_hand();
    let hand = hand.named("kept");
    let script = "echo 1 > /opt/x; echo begun; while [ ! -e go ]; do sleep 0.05; done";
    let mut killed = hand.start(script);
    killed.line();
    killed.signal(rustix::process::Signal::KILL);
    killed.end();
    fs_err::write(hand.work().join("go"), "").expect("writable");
    assert_eq!(hand.run([script]).code, Some(0));
    assert_eq!(hand.with("IMAGE_NAME", &image).run(["cat /opt/x"]).well(), "1\n");
}

#[test]
fn changes_that_cannot_be_kept_are_a_warning_and_not_a_failure() {
    let (hand, _) = keeping_hand();
    let refused = format!("{}/x:1", "a".repeat(300));
    let said = hand.with("CODEX_DOCKER_KEEP_AS", &refused).run(["echo x > /opt/x; exit 3"]);
    assert_eq!(said.code, Some(3));
    assert!(said.stderr.contains("warning: what the run installed could not be kept"), "{said:?}");
}

#[test]
fn an_image_with_many_layers_is_flattened_and_keeps_its_files_and_configuration() {
    let (hand, image) = keeping_hand();
    let layers = (0..60).map(|n| format!("COPY --from=0 /etc/debian_version /opt/{n}\n")).collect::<Vec<_>>().concat();
    let dockerfile = format!("FROM {BASE_IMAGE}\nFROM {BASE_IMAGE}\nENV A=b\n{layers}RUN touch /opt/last\n");
    let many = hand.build("many", &dockerfile);
    let count = |name: &str| docker(&["image", "inspect", "--format", "{{len .RootFS.Layers}}", name]).trim().parse::<u32>();
    assert!(count(&many).is_ok_and(|layers| layers > 60));
    let hand = hand.with("IMAGE_NAME", &many);
    hand.run(["rm /opt/1; echo new > /opt/new"]).well();
    assert!(count(&image).is_ok_and(|layers| layers <= 2), "{:?}", count(&image));
    let hand = hand.with("IMAGE_NAME", &image);
    let said = hand.run(["cat /opt/new; ls /opt/1; ls /opt | wc -l; echo $A; stat -c %a /usr/bin/su"]);
    assert_eq!(said.stdout, "new\n61\nb\n4755\n", "{said:?}");
    assert!(hand.containers().is_empty());
}
