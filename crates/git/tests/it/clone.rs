//! Cloning a mirror creates a complete mirror or nothing. The tests use the real git on temporary repositories, without the
//! user's configuration.

use std::io::Read;
use std::net::TcpListener;
use std::sync::Mutex;
use std::time::Duration;

use git::{CloneError, DiscoverGitError, FetchError, Git, Mirror, Progress, ProgressPhase};
use testkit::upstream::Upstream;

use crate::support::{Bench, base, clone, clone_request, git, left_behind};

/// Lists the content of a folder, except configuration that git may have created there.
fn left_in(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("it exists");
    entries.map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test]
async fn a_mirror_has_the_branches_and_tags_and_not_the_hosts_own_refs() {
    let upstream = Upstream::new();
    upstream.commit("topic", &[("t.txt", "t\n")], "topic");
    upstream.tag("v1", "main");
    let proposed = upstream.pull_request(1, &[("p.txt", "p\n")]);
    let bench = Bench::of(upstream).await;
    let refs = bench.by_hand(bench.mirror.path(), &["for-each-ref", "--format=%(refname)"]);
    assert_eq!(refs.lines().collect::<Vec<_>>(), ["refs/heads/main", "refs/heads/topic", "refs/tags/v1"]);
    let objects = bench.by_hand(bench.mirror.path(), &["cat-file", "--batch-check", "--batch-all-objects"]);
    assert!(!objects.contains(&proposed), "the pull request's commit is not downloaded");
    assert_eq!(bench.mirror.branches().await.expect("git answers"), ["main", "topic"]);
}

#[tokio::test]
async fn a_mirror_is_set_up_so_that_prune_and_push_do_no_harm() {
    let bench = Bench::new().await;
    let config = |name: &str| bench.by_hand(bench.mirror.path(), &["config", "--get-all", name]);
    assert_eq!(
        config("remote.origin.fetch"),
        "+refs/heads/*:refs/heads/*\n^refs/heads/codex\n^refs/heads/codex/*\n+refs/tags/*:refs/tags/*"
    );
    assert_eq!(config("remote.origin.url"), bench.upstream.url());
    assert_eq!((config("gc.auto").as_str(), config("gc.worktreePruneExpire").as_str()), ("0", "never"));
    assert_eq!(config("core.bare"), "true");
    let mirrored = bench.upstream.try_git_in(bench.mirror.path(), &["config", "remote.origin.mirror"]);
    assert!(!mirrored.status.success(), "`remote.origin.mirror` is not set, because it prevents pushing a single branch");
    let hooks = bench.mirror.path().join("hooks");
    assert!(!hooks.exists() || left_in(&hooks).is_empty());
}

#[tokio::test]
async fn paths_and_file_urls_are_cloned_without_sharing_objects() {
    let upstream = Upstream::new();
    let folder = tempfile::tempdir().expect("a folder");
    let git = git(folder.path()).await;
    for (name, url) in [("path", upstream.url()), ("file", upstream.file_url())] {
        let into = folder.path().join(name);
        let cloned = clone(&git, &url, &into).await.expect("the upstream can be cloned");
        assert_eq!(cloned.default_branch, "main");
        let listing = upstream.git_in(&into, &["count-objects", "-v"]);
        assert!(listing.contains("packs: 1") && !into.join("objects/info/alternates").exists(), "{listing}");
    }
}

#[tokio::test]
async fn a_path_with_a_space_or_a_leading_dash_in_its_name_is_a_path() {
    let folder = tempfile::tempdir().expect("a folder");
    let git = git(folder.path()).await;
    let upstream = Upstream::new();
    let odd = folder.path().join("-o dd \u{e4}");
    std::os::unix::fs::symlink(upstream.path(), &odd).expect("a link");
    clone(&git, &odd.display().to_string(), &folder.path().join("-mirror")).await.expect("the upstream can be cloned");
    let relative = clone(&git, "-u/bin/false", &folder.path().join("x")).await.expect_err("the repository does not exist");
    assert!(matches!(relative, CloneError::Remote(_)), "{relative}");
}

#[tokio::test]
async fn the_default_branch_is_the_remotes_head_or_the_wished_one() {
    let upstream = Upstream::new();
    upstream.commit("trunk", &[("t.txt", "t\n")], "trunk");
    upstream.set_head("trunk");
    let folder = tempfile::tempdir().expect("a folder");
    let git = git(folder.path()).await;
    let cloned = clone(&git, &upstream.url(), &folder.path().join("a")).await.expect("the upstream can be cloned");
    assert_eq!(cloned.default_branch, "trunk");
    assert_eq!(cloned.mirror.default_branch().await.expect("git answers"), "trunk");
    let (url, into) = (upstream.url(), folder.path().join("b"));
    let request = git::CloneRequest { default_branch: Some("main"), ..clone_request(&url, &into) };
    let cloned = git.clone_mirror(request).await.expect("the upstream can be cloned");
    assert_eq!(cloned.mirror.default_branch().await.expect("git answers"), "main");
}

#[tokio::test]
async fn a_missing_branch_is_found_out_before_the_download_and_leaves_nothing() {
    let upstream = Upstream::new();
    for number in 0..30 {
        upstream.point(&format!("refs/heads/b{number:02}"), "main");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let home = tempfile::tempdir().expect("a folder");
    let git = git(home.path()).await;
    let (url, into) = (upstream.url(), folder.path().join("mirror"));
    let none = |_: Progress| panic!("nothing is downloaded");
    let request = git::CloneRequest { default_branch: Some("gone"), progress: &none, ..clone_request(&url, &into) };
    let error = git.clone_mirror(request).await.expect_err("the branch does not exist");
    assert!(matches!(error, CloneError::BranchMissing(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains("`gone`") && text.contains("`b00`") && text.ends_with("`b19` and 11 more"), "{text}");
    assert!(left_in(folder.path()).is_empty());
}

#[tokio::test]
async fn task_branches_of_the_remote_are_not_taken_over() {
    let upstream = Upstream::new();
    upstream.commit("codex/theirs", &[("x", "x\n")], "theirs");
    let bench = Bench::of(upstream).await;
    assert_eq!(bench.mirror.branches().await.expect("git answers"), ["main"]);
    assert_eq!(bench.mirror.resolve_ref("codex/theirs").await.expect("git answers"), None);
}

#[tokio::test]
async fn what_is_no_repository_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = tempfile::tempdir().expect("a folder");
    let git = git(home.path()).await;
    std::fs::create_dir(home.path().join("plain")).expect("a folder");
    for url in [home.path().join("plain"), home.path().join("missing")] {
        for url in [url.display().to_string(), format!("file://{}", url.display())] {
            let error = clone(&git, &url, &folder.path().join("mirror")).await.expect_err("no repository");
            assert!(matches!(error, CloneError::Remote(FetchError::NotFound { .. })), "{url}: {error:?}");
        }
    }
    let error = clone(&git, &Upstream::empty().url(), &folder.path().join("mirror")).await.expect_err("no branches");
    assert!(matches!(error, CloneError::Empty), "{error}");
    assert!(left_in(folder.path()).is_empty());
}

#[tokio::test]
async fn a_remote_that_does_not_answer_hits_the_deadline_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = tempfile::tempdir().expect("a folder");
    let git = git(home.path()).await;
    // The system accepts connections that are never answered.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("it is bound");
    for scheme in ["git", "http"] {
        let (url, into) = (format!("{scheme}://{address}/repo.git"), folder.path().join("mirror"));
        let deadline = Duration::from_millis(700);
        let request = git::CloneRequest { deadline, ..clone_request(&url, &into) };
        let error = git.clone_mirror(request).await.expect_err("nobody answers");
        assert!(matches!(error, CloneError::Remote(FetchError::TimedOut { .. })), "{scheme}: {error:?}");
    }
    assert!(left_in(folder.path()).is_empty());
}

#[tokio::test]
async fn a_host_that_refuses_is_unreachable() {
    let folder = tempfile::tempdir().expect("a folder");
    let git = git(folder.path()).await;
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("it was bound");
    for scheme in ["git", "http"] {
        let error = clone(&git, &format!("{scheme}://{closed}/r"), &folder.path().join("m")).await.expect_err("refused");
        assert!(matches!(error, CloneError::Remote(FetchError::HostUnreachable { .. })), "{scheme}: {error:?}");
    }
}

/// Answers one HTTP request with this status.
fn answering(status: &'static str) -> (std::net::SocketAddr, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("git connects");
        let mut request = [0; 4096];
        let _read = stream.read(&mut request).expect("git asks");
        let answer =
            format!("HTTP/1.1 {status}\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        std::io::Write::write_all(&mut stream, answer.as_bytes()).expect("git listens");
    });
    (address, server)
}

#[tokio::test]
async fn a_repository_that_wants_a_password_fails_without_a_question() {
    let folder = tempfile::tempdir().expect("a folder");
    let git = git(folder.path()).await;
    for (status, wants_login) in [("401 Unauthorized", true), ("404 Not Found", false)] {
        let (address, server) = answering(status);
        let error = clone(&git, &format!("http://{address}/r.git"), &folder.path().join("m")).await.expect_err("refused");
        server.join().expect("it answered");
        match error {
            CloneError::Remote(FetchError::AuthenticationNeeded { .. }) if wants_login => {}
            CloneError::Remote(FetchError::NotFound { .. }) if !wants_login => {}
            other => panic!("{status}: {other:?}"),
        }
    }
}

/// Creates a folder with an `ssh` that records its arguments and fails.
fn refusing_ssh(folder: &std::path::Path, name: &str) -> std::path::PathBuf {
    let (path, log) = (folder.join(name), folder.join("ssh.log"));
    let script = format!(
        "#!/bin/sh\necho \"$0 $* $SSH_ASKPASS_REQUIRE\" >'{}'\necho 'x: Permission denied (publickey).' >&2\nexit 255\n",
        log.display()
    );
    std::fs::write(&path, script).expect("a file");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("the file belongs to the test");
    log
}

#[tokio::test]
async fn ssh_is_called_so_that_it_cannot_ask() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = refusing_ssh(folder.path(), "ssh");
    #[expect(clippy::disallowed_methods, reason = "the test puts its own folder first in `PATH`")]
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").expect("`PATH` is set"));
    let base = base(folder.path()).with("PATH", path);
    let git = Git::discover(base, None).await.expect("git is installed");
    for url in ["git@host.invalid:owner/repo.git", "ssh://git@host.invalid:2222/owner/repo"] {
        let error = clone(&git, url, &folder.path().join("m")).await.expect_err("refused");
        assert!(matches!(error, CloneError::Remote(FetchError::AuthenticationNeeded { .. })), "{error:?}");
        let call = std::fs::read_to_string(&log).expect("the program was called");
        assert!(call.contains("-o BatchMode=yes -o ConnectTimeout=") && call.contains("git@host.invalid"), "{call}");
    }
}

#[tokio::test]
async fn the_users_own_ssh_command_is_used_and_cannot_ask_either() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = refusing_ssh(folder.path(), "my-ssh");
    let mine = format!("{}/my-ssh -i key", folder.path().display());
    let config = folder.path().join("gitconfig");
    std::fs::write(&config, format!("[core]\n\tsshCommand = {mine}\n")).expect("a file");
    for base in [base(folder.path()).with("GIT_SSH_COMMAND", &mine), base(folder.path()).with("GIT_CONFIG_GLOBAL", &config)] {
        let git = Git::discover(base, None).await.expect("git is installed");
        clone(&git, "git@host.invalid:owner/repo.git", &folder.path().join("m")).await.expect_err("refused");
        let call = std::fs::read_to_string(&log).expect("the program was called");
        assert!(call.contains("my-ssh -i key") && call.trim_end().ends_with("force"), "{call}");
        std::fs::remove_file(&log).expect("it exists");
    }
}

#[tokio::test]
async fn remote_helpers_are_refused_whatever_the_user_allows() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("gitconfig");
    std::fs::write(&config, "[protocol]\n\tallow = always\n[protocol \"ext\"]\n\tallow = always\n").expect("a file");
    let git = Git::discover(base(folder.path()).with("GIT_CONFIG_GLOBAL", &config), None).await.expect("git is installed");
    let url = format!("ext::sh -c touch% {}/pwned", folder.path().display());
    clone(&git, &url, &folder.path().join("mirror")).await.expect_err("a URL that would run a program is rejected");
    assert!(!folder.path().join("pwned").exists());
}

#[tokio::test]
async fn a_cancelled_clone_leaves_nothing() {
    let upstream = Upstream::new();
    let folder = tempfile::tempdir().expect("a folder");
    let home = tempfile::tempdir().expect("a folder");
    let git = git(home.path()).await;
    let (url, into) = (upstream.url(), folder.path().join("mirror"));
    let request = clone_request(&url, &into);
    let cancel = request.cancel.clone();
    let progress = move |_: Progress| cancel.cancel();
    let request = git::CloneRequest { progress: &progress, ..request };
    let error = git.clone_mirror(request).await.expect_err("the clone was cancelled while it ran");
    assert!(matches!(error, CloneError::Remote(FetchError::Cancelled)), "{error:?}");
    assert!(left_in(folder.path()).is_empty());
}

#[tokio::test]
async fn a_dropped_clone_leaves_nothing_under_its_name() {
    let upstream = Upstream::new();
    let folder = tempfile::tempdir().expect("a folder");
    let home = tempfile::tempdir().expect("a folder");
    let git = git(home.path()).await;
    let (url, into) = (upstream.url(), folder.path().join("mirror"));
    let seen = tokio::sync::Notify::new();
    let progress = |_: Progress| seen.notify_one();
    let request = git::CloneRequest { progress: &progress, ..clone_request(&url, &into) };
    let clone_until_seen = futures_util::future::select(Box::pin(git.clone_mirror(request)), Box::pin(seen.notified()));
    drop(clone_until_seen.await);
    assert!(!into.exists() || Mirror::open(&git, &into).is_ok(), "the mirror is complete or does not exist");
}

#[tokio::test]
async fn the_rest_of_a_killed_clone_is_no_obstacle() {
    let upstream = Upstream::new();
    let folder = tempfile::tempdir().expect("a folder");
    let git = git(folder.path()).await;
    std::fs::create_dir_all(folder.path().join("mirror.partial/objects")).expect("a folder");
    std::fs::write(folder.path().join("mirror.partial/HEAD"), "half").expect("a file");
    let into = folder.path().join("mirror");
    let left = left_behind(folder.path(), &into).await;
    clone(&git, &upstream.url(), &into).await.expect("the upstream can be cloned");
    assert!(!folder.path().join("mirror.partial").exists());
    assert!(!left.is_alive().expect("/proc can be read"), "the process that the killed clone left is stopped");
    let error = clone(&git, &upstream.url(), &into).await.expect_err("the mirror exists");
    assert!(matches!(error, CloneError::AlreadyThere { .. }), "{error}");
    assert!(Mirror::open(&git, &into).is_ok(), "the existing mirror is unchanged");
}

#[tokio::test]
async fn progress_is_told_in_order_and_up_to_the_end() {
    let upstream = Upstream::new();
    let files: Vec<_> = (0..300).map(|number| (format!("f{number}"), format!("{number}\n"))).collect();
    let files: Vec<_> = files.iter().map(|(path, content)| (path.as_str(), content.as_str())).collect();
    upstream.commit("main", &files, "many");
    let folder = tempfile::tempdir().expect("a folder");
    let git = git(folder.path()).await;
    let seen = Mutex::new(Vec::new());
    let progress = |step: Progress| seen.lock().expect("nobody panicked").push(step);
    let (url, into) = (upstream.url(), folder.path().join("mirror"));
    let request = git::CloneRequest { progress: &progress, ..clone_request(&url, &into) };
    git.clone_mirror(request).await.expect("the upstream can be cloned");
    let seen = seen.into_inner().expect("nobody panicked");
    let received: Vec<_> = seen.iter().filter(|step| step.phase == ProgressPhase::Receiving).map(|step| step.percent).collect();
    assert!(received.is_sorted() && received.last() == Some(&100), "{received:?}");
}

#[tokio::test]
async fn refs_are_branches_then_tags_then_commits_and_never_expressions() {
    let upstream = Upstream::new();
    let old = upstream.commit_of("main").expect("the branch has a commit");
    upstream.tag("v1", "main");
    upstream.tag("both", "main");
    let new = upstream.commit("main", &[("a", "a\n")], "more");
    upstream.point("refs/heads/both", &new);
    let bench = Bench::of(upstream).await;
    let resolve = async |name: &str| bench.mirror.resolve_ref(name).await.expect("git answers").map(|id| id.to_string());
    assert_eq!(resolve("main").await, Some(new.clone()));
    assert_eq!(resolve("v1").await, Some(old.clone()), "an annotated tag resolves to its commit");
    assert_eq!(resolve("both").await, Some(new.clone()), "a branch takes precedence over a tag");
    assert_eq!(resolve(&old).await, Some(old.clone()));
    assert_eq!(resolve(&old[..7]).await, Some(old.clone()));
    let tree = bench.by_hand(bench.mirror.path(), &["rev-parse", "main^{tree}"]);
    for nothing in [
        "gone",
        "main~1",
        "main^{tree}",
        "HEAD",
        "--all",
        "-x",
        &old[..6],
        &tree,
        &"0".repeat(40),
        "refs/heads/main",
        "a b",
        "main\nv1",
    ] {
        assert_eq!(resolve(nothing).await, None, "{nothing}");
    }
    assert_eq!(bench.mirror.verify_branch("main").await.expect("it exists").to_string(), new);
    assert!(bench.mirror.verify_branch("v1").await.expect_err("a tag").to_string().contains("`both`, `main`"));
}

#[tokio::test]
async fn only_a_bare_repository_is_opened_as_a_mirror() {
    let bench = Bench::new().await;
    assert!(Mirror::open(&bench.git, bench.mirror.path()).is_ok());
    assert!(Mirror::open(&bench.git, &bench.path("missing")).is_err());
    assert!(Mirror::open(&bench.git, bench.folder.path()).expect_err("a plain folder").to_string().contains("not a bare"));
}

#[tokio::test]
async fn a_git_that_is_missing_old_or_strange_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = |name: &str, answer: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\necho '{answer}'\n")).expect("a file");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("the file belongs to the test");
        path
    };
    let found = async |path: &std::path::Path| Git::discover(base(folder.path()), Some(path)).await.expect_err("unusable");
    assert!(matches!(found(&folder.path().join("none")).await, DiscoverGitError::NotFound(_)));
    assert!(matches!(found(&script("strange", "hello")).await, DiscoverGitError::NoVersion { .. }));
    let old = found(&script("old", "git version 2.20.1")).await;
    assert!(matches!(old, DiscoverGitError::TooOld { .. }) && old.to_string().contains("2.20"), "{old}");
    assert!(git(folder.path()).await.version().is_tested());
}
