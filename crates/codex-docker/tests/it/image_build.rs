//! Builds images from the built-in Dockerfile with a real engine.
//!
//! `cargo xtask test` has built the same image before, so most steps come from the engine's cache.

use model::ErrorCode;
use std::time::{Duration, Instant};

use codex_docker::image::{Build, Origin, Progress, build, exists, status};
use testkit::codex::OLDEST_CODEX_VERSION;
use testkit::docker::{CERTIFICATES, Sandbox, base_image, codex_image, docker, oldest_codex_image, try_docker};

use crate::image_support::{engine, nobody, registry};

fn from_base(sandbox: &Sandbox) -> Build {
    Build { tag: sandbox.image("built"), base: base_image(), ..Build::default() }
}

fn from_own(sandbox: &Sandbox, dockerfile: &str) -> Build {
    Build { dockerfile: Some(dockerfile.to_owned()), ..from_base(sandbox) }
}

#[test]
fn everything_that_a_run_needs_is_in_the_image_for_root_and_for_anybody() {
    let sandbox = Sandbox::new();
    let script =
        "codex --version; git --version; rg --version; git lfs version; jq --version; python3 --version; socat -V; cc --version";
    for user in ["0:0", "12345:12345"] {
        let said = sandbox.run(&codex_image(), user, script);
        let version = format!("codex-cli {}", model::CODEX_VERSION);
        for program in
            [version.as_str(), "git version 2", "ripgrep 1", "git-lfs/", "jq-1", "Python 3", "socat version", "cc (Debian"]
        {
            assert!(said.contains(program), "{user}: no {program} in\n{said}");
        }
    }
}

#[test]
fn codex_lies_there_with_all_that_it_looks_for_beside_itself() {
    let sandbox = Sandbox::new();
    let script = "set -e; readlink -f /usr/local/bin/codex; cd /opt/codex; ls bin; test -x codex-resources/bwrap; \
                  test -x codex-path/rg; cat codex-package.json; ls -A /root; stat -c %U . bin/codex";
    let said = sandbox.run(&codex_image(), "0:0", script);
    assert!(said.starts_with("/opt/codex/bin/codex\ncodex\ncodex-code-mode-host\n"), "{said}");
    assert!(said.ends_with(".bashrc\n.profile\nroot\nroot\n"), "the build leaves no files of Codex behind: {said}");
}

#[test]
fn the_layout_of_older_packages_is_known_too() {
    let sandbox = Sandbox::new();
    let said = sandbox.run(&oldest_codex_image(), "12345:12345", "codex --version; ls /opt/codex");
    assert_eq!(said, format!("codex-cli {OLDEST_CODEX_VERSION}\nbin\ncodex\npath\n"));
}

#[test]
fn git_takes_any_owners_repository_and_knows_large_files() {
    let sandbox = Sandbox::new();
    let script = "cp -r /opt /tmp/x && chown -R 7:7 /tmp/x && cd /tmp/x && git init --quiet . && chown -R 7:7 . && git status --short; \
                  git config --system filter.lfs.clean";
    assert_eq!(sandbox.run(&codex_image(), "0:0", script), "?? codex/\ngit-lfs clean -- %f\n");
}

#[test]
fn the_certificates_that_were_named_are_trusted() {
    let Ok(bundle) = std::fs::read_to_string(CERTIFICATES) else { return };
    let last = bundle.trim_end().lines().rev().nth(1).expect("a certificate has lines").to_owned();
    let said = Sandbox::new().run(&codex_image(), "0:0", &format!("grep -c -F -- '{last}' {CERTIFICATES}"));
    assert_ne!(said, "0\n");
}

#[test]
fn nobody_can_read_a_secret_in_the_image() {
    let history = docker(&["history", "--no-trunc", "--format", "{{.CreatedBy}}", &codex_image()]);
    let environment = docker(&["image", "inspect", "--format", "{{json .Config.Env}}", &codex_image()]);
    for name in ["KEY", "TOKEN", "SECRET", "PASSWORD", "PROXY"] {
        assert!(!environment.contains(name) && !history.contains(&format!("{name}=")), "{name}: {environment}\n{history}");
    }
}

#[tokio::test]
async fn an_image_says_what_it_is_and_building_it_again_costs_little() {
    let (docker, sandbox) = (engine().await, Sandbox::new());
    let old = Build { codex_version: OLDEST_CODEX_VERSION.to_owned(), ..from_base(&sandbox) };
    let old = Build { certificates: certificates(), ..old };
    let mut steps = Vec::new();
    let began = Instant::now();
    let built = build(&docker, &old, |progress| {
        if let Progress::Step { number, total, instruction } = progress {
            steps.push((number, total, instruction.to_owned()));
        }
    });
    let built = built.await.expect("the build succeeds");
    assert!(began.elapsed() < Duration::from_secs(20), "the cache was not used: {:?}", began.elapsed());
    assert_eq!((built.origin, built.stale, built.codex_version.as_deref()), (Origin::Shipped, true, Some(OLDEST_CODEX_VERSION)));
    assert_eq!(built.base.as_deref(), Some(base_image().as_str()));
    let numbers: Vec<u32> = steps.iter().map(|(number, _, _)| *number).collect();
    assert_eq!(numbers, (1..=steps[0].1).collect::<Vec<_>>());
    assert!(steps.iter().any(|(_, _, instruction)| instruction.starts_with("RUN apt-get update")), "{steps:?}");
}

/// Returns the certificates of the provisioned images, so that the build can use the cache.
fn certificates() -> Vec<String> {
    let bundle = std::fs::read_to_string(CERTIFICATES).unwrap_or_default();
    let end = "-----END CERTIFICATE-----\n";
    bundle.split_inclusive(end).filter(|one| one.ends_with(end)).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_version_of_codex_that_is_not_there_is_told_at_once() {
    let (docker, sandbox) = (engine().await, Sandbox::new());
    let wrong = Build { codex_version: "0.0.99999".to_owned(), ..from_base(&sandbox) };
    let began = Instant::now();
    let failure = build(&docker, &wrong, nobody).await.expect_err("the version does not exist");
    assert_eq!(failure.code, ErrorCode::CodexVersionUnknown, "{failure:?}");
    assert!(failure.message.contains("0.0.99999") && began.elapsed() < Duration::from_secs(15), "{failure:?}");
    assert_eq!(exists(&docker, &wrong.tag).await, Ok(false));
}

#[tokio::test]
async fn a_base_that_is_not_there_says_what_to_do() {
    let (docker, sandbox) = (engine().await, Sandbox::new());
    for (base, code) in [
        (format!("{}/nothing:1", registry()), ErrorCode::ImageNotFound),
        ("127.0.0.1:1/nothing:1".to_owned(), ErrorCode::ImageNoNetwork),
        ("Capital:1".to_owned(), ErrorCode::ImageName),
    ] {
        let failure = build(&docker, &Build { base, ..from_base(&sandbox) }, nobody).await.expect_err("the base cannot be used");
        assert!(failure.code == code && !failure.hints.is_empty(), "{failure:?}");
    }
}

#[tokio::test]
async fn a_base_that_is_no_debian_says_so() {
    let (docker, sandbox) = (engine().await, Sandbox::new());
    let without_apt = sandbox.image("without-apt");
    let dockerfile = format!("FROM {}\nRUN rm /usr/bin/apt-get\n", codex_image());
    build(&docker, &Build { tag: without_apt.clone(), ..from_own(&sandbox, &dockerfile) }, nobody)
        .await
        .expect("the build succeeds");
    let failure =
        build(&docker, &Build { base: without_apt, ..from_base(&sandbox) }, nobody).await.expect_err("the base has no apt-get");
    assert_eq!(failure.code, ErrorCode::BaseUnsuitable, "{failure:?}");
    assert!(failure.message.contains("apt-get: not found") && failure.hints[0].contains("--base"), "{failure:?}");
}

#[tokio::test]
async fn somebodys_own_dockerfile_adds_to_our_image() {
    let (docker, sandbox) = (engine().await, Sandbox::new());
    let own = from_own(&sandbox, &format!("FROM {}\nRUN echo mine > /etc/mine", codex_image()));
    let built = build(&docker, &own, nobody).await.expect("the build succeeds");
    assert_eq!((built.origin, built.stale, built.codex_version.as_deref()), (Origin::Custom, false, Some(model::CODEX_VERSION)));
    assert_eq!(sandbox.run(&own.tag, "0:0", "cat /etc/mine"), "mine\n");
}

#[tokio::test]
async fn a_dockerfile_without_codex_makes_no_image() {
    let (docker, sandbox) = (engine().await, Sandbox::new());
    let own = from_own(&sandbox, &format!("FROM {}\n", base_image()));
    let failure = build(&docker, &own, nobody).await.expect_err("Codex is missing");
    assert_eq!(failure.code, ErrorCode::ImageIncomplete, "{failure:?}");
    assert!(failure.message.contains("codex: not found") && failure.hints[0].contains("CODEX_DOCKER_IMAGE"), "{failure:?}");
    assert_eq!(exists(&docker, &own.tag).await, Ok(false));
}

#[tokio::test]
async fn a_full_disk_is_told_from_other_trouble() {
    let (docker, sandbox) = (engine().await, Sandbox::new());
    let failure = |line: &str| from_own(&sandbox, &format!("FROM {}\nRUN {line}\n", base_image()));
    let full = build(&docker, &failure("dd if=/dev/zero of=/dev/full count=1"), nobody).await.expect_err("the device is full");
    assert!(full.code == ErrorCode::DiskFull && full.hints[0].contains("docker system prune"), "{full:?}");
    let other = build(&docker, &failure("echo why it failed >&2; exit 7"), nobody).await.expect_err("the step fails");
    assert_eq!(other.code, ErrorCode::ImageFailed, "{other:?}");
    assert!(other.message.contains("exit code 7") && other.message.ends_with("\n  | why it failed"), "{other:?}");
}

#[tokio::test]
async fn what_is_no_dockerfile_says_so() {
    let (docker, sandbox) = (engine().await, Sandbox::new());
    for (text, code) in [
        ("FORM x\n".to_owned(), ErrorCode::DockerfileInvalid),
        (format!("FROM {}\nRUN --mount=type=cache,target=/x true\n", base_image()), ErrorCode::DockerfileBuildkit),
    ] {
        let failure = build(&docker, &from_own(&sandbox, &text), nobody).await.expect_err("the Dockerfile is invalid");
        assert!(failure.code == code && !failure.hints.is_empty(), "{failure:?}");
    }
}

#[tokio::test]
async fn a_new_image_takes_the_place_of_the_old_one_and_a_failed_one_does_not() {
    let (docker, sandbox) = (engine().await, Sandbox::new());
    let own = |number: u32| {
        from_own(&sandbox, &format!("FROM {}\nRUN echo {number} > /etc/mine && test {number} -lt 3\n", codex_image()))
    };
    let first = build(&docker, &own(1), nobody).await.expect("the build succeeds");
    let second = build(&docker, &own(2), nobody).await.expect("the build succeeds");
    assert_ne!(first.id, second.id);
    assert!(!try_docker(&["image", "inspect", &first.id]).status.success(), "the old image is removed");
    build(&docker, &own(3), nobody).await.expect_err("the build fails");
    assert_eq!(status(&docker, &second.name).await, Ok(Some(second)));
}

#[tokio::test]
async fn an_image_that_is_used_or_has_another_name_stays_when_its_name_moves_on() {
    let (engine, sandbox) = (engine().await, Sandbox::new());
    let own = |number: u32| from_own(&sandbox, &format!("FROM {}\nRUN echo {number} > /etc/used\n", codex_image()));
    let used = build(&engine, &own(1), nobody).await.expect("the build succeeds");
    docker(&["create", "--name", &sandbox.container("uses-it"), &used.name]);
    let named = build(&engine, &own(2), nobody).await.expect("the build succeeds");
    docker(&["tag", &named.name, &sandbox.image("kept")]);
    build(&engine, &own(3), nobody).await.expect("the build succeeds");
    for kept in [&used.id, &named.id, &sandbox.image("kept")] {
        assert!(try_docker(&["image", "inspect", kept]).status.success(), "{kept} still exists");
    }
    docker(&["rm", &sandbox.container("uses-it")]);
    docker(&["rmi", &used.id]);
}
