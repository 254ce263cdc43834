//! Setups in real containers: the result, and what is left after each way in which a setup can fail.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use testkit::docker::{docker, try_docker};
use testkit::until;

use super::hand::{Hand, LIMIT, Said};

/// A setup that has not started.
struct SetupCall<'a> {
    hand: &'a Hand,
    words: Vec<String>,
}

impl<'a> SetupCall<'a> {
    fn new(hand: &'a Hand, script: &str) -> Self {
        let staging = staging(hand);
        fs_err::create_dir_all(staging.join("checkout")).expect("a new folder");
        let file = hand.root().join("setup.sh");
        fs_err::write(&file, script).expect("writable");
        let [staging, checkout, file] = [staging.clone(), staging.join("checkout"), file].map(|path| path.display().to_string());
        let words = ["setup", "--staging", &staging, "--checkout", &checkout, "--script", &file];
        Self { hand, words: words.map(str::to_owned).to_vec() }
    }

    fn with(mut self, words: &[&str]) -> Self {
        self.words.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    fn command(&self) -> Command {
        self.hand.command(&self.words)
    }

    fn run(&self) -> Said {
        self.hand.run(&self.words)
    }
}

fn staging(hand: &Hand) -> PathBuf {
    hand.home().join("staging")
}

fn result(hand: &Hand) -> Value {
    let text = fs_err::read_to_string(staging(hand).join("result.json")).expect("the setup has a result");
    serde_json::from_str(&text).expect("JSON")
}

#[track_caller]
fn is_gone(hand: &Hand) {
    assert!(hand.containers().is_empty() && hand.folders().is_empty(), "{:?}", hand.folders());
    assert!(!staging(hand).join("result.json").exists(), "a failed setup has no result");
}

fn exists(image: &str) -> bool {
    try_docker(&["image", "inspect", image]).status.success()
}

#[test]
fn a_setup_leaves_folders_caches_and_an_image() {
    let hand = Hand::new();
    let image = hand.image("snapshot");
    let script = "set -e\n[ -n \"$BASH_VERSION\" ]\npwd; cat tracked; echo err >&2\n\
                  mkdir -p node_modules/a ~/.npm; echo x > node_modules/a/b; ln -s /etc node_modules/link\n\
                  echo cached > ~/.npm/c; echo tool > /usr/local/bin/tool; ls -d /codex-docker/in/config.toml || true\n";
    let call = SetupCall::new(&hand, script);
    fs_err::write(staging(&hand).join("checkout/tracked"), "tracked\n").expect("writable");
    let call = call.with(&[
        "--keep",
        "node_modules",
        "--keep",
        "missing",
        "--cache",
        "~/.npm",
        "--cache",
        "/opt/none",
        "--keep-as",
        &image,
    ]);
    let said = call.run();
    assert!(said.well().starts_with("/workspace/worktree\ntracked\nerr\n"), "{said:?}");
    let result = result(&hand);
    assert_eq!((&result["keep"][0]["path"], &result["keep"][0]["files"]), (&"node_modules".into(), &2.into()), "{result}");
    assert_eq!((&result["keep"][1], &result["cache"][1]), (&Value::Null, &Value::Null), "{result}");
    assert_eq!((&result["cache"][0]["path"], &result["cache"][0]["files"]), (&"~/.npm".into(), &1.into()), "{result}");
    assert!(result["cache"][0]["bytes"].as_u64().is_some_and(|bytes| bytes >= 4096), "{result}");
    let id = docker(&["image", "inspect", "--format", "{{.Id}}", &image]);
    assert_eq!(result["image"].as_str(), Some(id.trim()));
    let read = |path: &str| fs_err::read_to_string(staging(&hand).join(path)).expect("the file was moved");
    assert_eq!((read("keep/0/a/b").as_str(), read("cache/0/c").as_str()), ("x\n", "cached\n"));
    assert!(!staging(&hand).join("checkout/node_modules").exists() && !staging(&hand).join(".layers").exists());
    let inside = hand.build("look", &format!("FROM {image}\nRUN cat /usr/local/bin/tool && ! ls /root/.npm/c"));
    assert!(exists(&inside));
    assert!(hand.containers().is_empty() && hand.folders().is_empty(), "{:?}", hand.folders());
}

#[test]
fn a_plain_users_setup_works_and_one_that_changes_nothing_else_has_no_image() {
    let hand = Hand::new();
    let image = hand.image("snapshot");
    let call = SetupCall::new(&hand, "mkdir target && chmod 700 target && echo x > target/y && echo x > ~/.cache/z").with(&[
        "--keep",
        "target",
        "--cache",
        "~/.cache",
        "--keep-as",
        &image,
    ]);
    for name in ["home/staging", "home/staging/checkout"] {
        let (uid, gid) = (rustix::fs::Uid::from_raw(super::hand::USER), rustix::fs::Gid::from_raw(super::hand::USER));
        rustix::fs::chown(hand.root().join(name), Some(uid), Some(gid)).expect("tests run as root");
    }
    let said = hand.run_as_plain_user(&call.words);
    assert_eq!(said.code, Some(0), "{said:?}");
    let result = result(&hand);
    assert_eq!(
        (&result["image"], &result["keep"][0]["files"], &result["cache"][0]["files"]),
        (&Value::Null, &1.into(), &1.into())
    );
    assert!(!exists(&image) && hand.folders().is_empty(), "{:?}", hand.folders());
}

#[test]
fn a_failed_setup_has_the_scripts_exit_code_and_leaves_nothing() {
    let hand = Hand::new();
    let image = hand.image("snapshot");
    let said = SetupCall::new(&hand, "echo before; touch /opt/x; exit 7").with(&["--keep-as", &image]).run();
    assert_eq!((said.code, said.stdout.as_str()), (Some(7), "before\n"));
    assert!(said.stderr.contains("the setup script failed with exit code 7"), "{said:?}");
    is_gone(&hand);
    assert!(!exists(&image));
}

#[test]
fn a_setup_that_takes_too_long_is_ended_with_its_daemons() {
    let hand = Hand::new();
    let script =
        "(trap '' TERM INT HUP; setsid sh -c 'while :; do sleep 1; done' &) \n trap '' TERM INT; echo begun; sleep 1000000";
    let started = Instant::now();
    let said = SetupCall::new(&hand, script).with(&["--time-limit", "3"]).run();
    assert_eq!((said.code, said.stdout.as_str()), (Some(125), "begun\n"));
    assert!(said.stderr.contains("error: the setup took more than 3 seconds"), "{said:?}");
    assert!(started.elapsed() < LIMIT);
    is_gone(&hand);
}

#[test]
fn a_stopped_setup_ends_within_seconds_and_leaves_nothing() {
    let hand = Hand::new();
    let image = hand.image("snapshot");
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let call = SetupCall::new(&hand, "trap '' TERM INT; touch /opt/x started; sleep 1000000").with(&["--keep-as", &image]);
        let mut running = call.command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        super::hand::await_file(&staging(&hand).join("checkout/started"));
        fs_err::remove_file(staging(&hand).join("checkout/started")).expect("there");
        let asked = Instant::now();
        rustix::process::kill_process(rustix::process::Pid::from_child(&running), signal).expect("ours");
        assert_eq!(running.wait().expect("ours").code(), Some(code));
        assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
        is_gone(&hand);
        assert!(!exists(&image));
    }
}

#[test]
fn a_killed_setup_is_never_continued() {
    let hand = Hand::new().named("setup");
    let image = hand.image("snapshot");
    let kill = || {
        let call = SetupCall::new(&hand, "touch /opt/x started; sleep 1000000").with(&["--keep-as", &image]);
        let mut running = call.command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        super::hand::await_file(&staging(&hand).join("checkout/started"));
        fs_err::remove_file(staging(&hand).join("checkout/started")).expect("there");
        running.kill().expect("ours");
        running.wait().expect("ours");
    };
    kill();
    assert_eq!(hand.run(["reap"]).well().lines().count(), 1);
    is_gone(&hand);
    kill();
    let said = SetupCall::new(&hand, "echo again; ls /opt/x").run();
    assert_eq!((said.code, said.stdout.lines().next()), (Some(2), Some("again")), "the script starts in a new container");
    is_gone(&hand);
    assert!(!exists(&image));
}

#[test]
fn an_endless_output_is_cut_and_fills_neither_disk_nor_memory() {
    let hand = Hand::new();
    let said = SetupCall::new(&hand, "head -c 300000000 /dev/zero | tr '\\0' x; echo end").run();
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stdout.len() > 64 << 20 && said.stdout.len() < 65 << 20, "{}", said.stdout.len());
    assert!(said.stdout.ends_with("[the output after 64 MiB was dropped]\n"));
}

#[test]
fn a_setup_that_fills_the_disk_is_ended() {
    let hand = Hand::new().with("CODEX_DOCKER_FREE_DISK", "1m");
    let free = |hand: &Hand| {
        let stat = rustix::fs::statvfs(hand.root()).expect("a file system");
        stat.f_bavail * stat.f_frsize
    };
    let call = SetupCall::new(&hand, "fallocate -l 300m big; echo begun; sleep 1000000");
    let limit = (free(&hand) - (200 << 20)).to_string();
    let output = call.command().env("CODEX_DOCKER_FREE_DISK", limit).output().expect("it starts");
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&output.stderr).contains("are free on the disk"), "{output:?}");
    is_gone(&hand);
}

#[test]
fn a_secret_that_a_setup_leaves_anywhere_is_named_and_there_is_no_result() {
    let hand =
        Hand::new().with("CODEX_CONTAINER_ENV_NPM_TOKEN", "npm_a-secret-value").with("CODEX_DOCKER_SETUP_SECRETS", "NPM_TOKEN");
    let image = hand.image("snapshot");
    for (script, place) in [
        ("echo \"//r/:_authToken=$NPM_TOKEN\" > ~/.npmrc", "/root/.npmrc"),
        ("echo $NPM_TOKEN > /tmp/log; for n in $(seq 200); do echo x > /opt/$n; done", "/tmp/log"),
        ("mkdir -p node_modules/x; printf 'user:%s' \"$NPM_TOKEN\" | base64 > node_modules/x/y", "node_modules/x/y"),
        ("mkdir -p ~/.npm; touch ~/.npm/$NPM_TOKEN", "~/.npm/npm_a-secret-value"),
    ] {
        let call = SetupCall::new(&hand, script).with(&["--keep", "node_modules", "--cache", "~/.npm", "--keep-as", &image]);
        let said = call.run();
        assert_eq!(said.code, Some(125), "{said:?}");
        let message = format!("error: the setup left the value of the secret `NPM_TOKEN` in `{place}`");
        assert!(said.stderr.contains(&message), "{said:?}");
        is_gone(&hand);
        assert!(!exists(&image));
        fs_err::remove_dir_all(staging(&hand)).expect("tests run as root");
    }
    let fine = "echo \"$NPM_TOKEN\" > ~/.npmrc; rm ~/.npmrc; echo \"$NPM_TOKEN\" > ignored; touch /opt/x";
    let said = SetupCall::new(&hand, fine).with(&["--keep-as", &image]).run();
    assert!(said.code == Some(0) && exists(&image), "{said:?}");
    let history = docker(&["image", "inspect", &image]) + &docker(&["history", "--no-trunc", &image]);
    assert!(!history.contains("npm_a-secret-value"));
}

#[test]
fn links_that_a_script_leaves_are_not_followed() {
    let hand = Hand::new();
    let outside = hand.home().join("outside");
    fs_err::create_dir_all(outside.join("modules")).expect("a new folder");
    fs_err::write(outside.join("modules/precious"), "x").expect("writable");
    let script = "ln -s ../../outside link; ln -s / root; ln -s ../keep itself; mkdir -p a; ln -s /staging/checkout a/up";
    let call = SetupCall::new(&hand, script);
    let said =
        call.with(&["--keep", "link", "--keep", "link/modules", "--keep", "root/etc", "--keep", "a/up/a", "--keep", "a"]).run();
    assert_eq!(said.code, Some(0), "{said:?}");
    let result = result(&hand);
    let kept: Vec<bool> = result["keep"].as_array().expect("a list").iter().map(Value::is_object).collect();
    assert_eq!(kept, [false, false, false, false, true], "{result}");
    assert!(outside.join("modules/precious").exists());
}

/// Moves the result of a setup aside, and returns the words that let the next setup update it.
fn earlier(hand: &Hand) -> [String; 2] {
    let earlier = hand.home().join("earlier");
    fs_err::rename(staging(hand), &earlier).expect("the same file system");
    ["--from".to_owned(), earlier.display().to_string()]
}

#[test]
fn an_earlier_result_is_updated_and_stays_as_it_is() {
    let hand = Hand::new();
    let [old, new] = ["old", "new"].map(|name| hand.image(name));
    let folders = ["--keep", "web/node_modules", "--keep", "later", "--cache", "~/.npm", "--cache", "/opt/cache"];
    let script = "set -e\nmkdir -p web/node_modules ~/.npm; echo 1 > web/node_modules/a; echo 1 > web/node_modules/gone\n\
                  ln web/node_modules/a web/node_modules/same; echo 1 > ~/.npm/c; chmod 700 ~/.npm; echo 1 > /opt/tool\n";
    let first = SetupCall::new(&hand, script).with(&folders).with(&["--keep-as", &old]).run();
    assert_eq!(first.code, Some(0), "{first:?}");
    let from = earlier(&hand);
    let update = "set -e\ncat web/node_modules/same ~/.npm/c /opt/tool; stat -c %a ~/.npm; ls /opt/cache\n\
                  echo 2 >> web/node_modules/a; rm web/node_modules/gone; mkdir later; echo 2 > later/b; echo 2 > ~/.npm/c\n\
                  echo 2 > /opt/cache/d; echo 2 > /opt/tool\n";
    let call = SetupCall::new(&hand, update).with(&folders).with(&["--keep-as", &new]).with(&[&from[0], &from[1]]);
    let output = call.command().env("IMAGE_NAME", &old).output().expect("it starts");
    assert_eq!(
        (output.status.code(), String::from_utf8_lossy(&output.stdout).as_ref()),
        (Some(0), "1\n1\n1\n700\n"),
        "{output:?}"
    );
    let read = |folder: &str, path: &str| fs_err::read_to_string(hand.home().join(folder).join(path)).ok();
    let has = |text: &str| Some(text.to_owned());
    for (path, before, after) in [
        ("keep/0/a", has("1\n"), has("1\n2\n")),
        ("keep/0/same", has("1\n"), has("1\n2\n")),
        ("keep/0/gone", has("1\n"), None),
        ("keep/1/b", None, has("2\n")),
        ("cache/0/c", has("1\n"), has("2\n")),
        ("cache/1/d", None, has("2\n")),
    ] {
        assert_eq!((read("earlier", path), read("staging", path)), (before, after), "{path}");
    }
    assert!(result(&hand)["image"].is_string() && exists(&old), "{}", result(&hand));
    let inside = hand.build("look", &format!("FROM {new}\nRUN grep -q 2 /opt/tool"));
    assert!(exists(&inside) && hand.containers().is_empty() && hand.folders().is_empty(), "{:?}", hand.folders());
}

#[test]
fn an_update_follows_no_links_of_the_checkout() {
    let hand = Hand::new();
    let folders = ["--keep", "a/modules", "--keep", "file"];
    let script = "mkdir -p a/modules file; echo 1 > a/modules/x; echo 1 > file/x";
    let first = SetupCall::new(&hand, script).with(&folders).run();
    assert_eq!(first.code, Some(0), "{first:?}");
    let from = earlier(&hand);
    let outside = hand.home().join("outside");
    fs_err::create_dir_all(outside.join("modules")).expect("a new folder");
    let call = SetupCall::new(&hand, "ls").with(&folders).with(&[&from[0], &from[1]]);
    std::os::unix::fs::symlink("../../outside", staging(&hand).join("checkout/a")).expect("a link");
    fs_err::write(staging(&hand).join("checkout/file"), "mine").expect("writable");
    let said = call.run();
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), "a\nfile\n"), "{said:?}");
    assert!(said.stderr.contains("`a/modules` is not a folder in the checkout"), "{said:?}");
    assert!(fs_err::read_dir(outside.join("modules")).expect("readable").next().is_none());
    assert_eq!(result(&hand)["keep"], serde_json::json!([null, null]));
}

#[test]
fn a_setup_without_a_network_reaches_nothing() {
    let hand = Hand::new().with("CODEX_DOCKER_NETWORK", "none");
    let said = SetupCall::new(&hand, "tail -n +3 /proc/net/dev | cut -d: -f1").run();
    assert_eq!(said.well().split_whitespace().collect::<Vec<_>>(), ["lo"]);
    until(LIMIT, "nothing is left", || hand.containers().is_empty());
}
