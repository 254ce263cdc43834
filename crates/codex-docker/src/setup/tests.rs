//! Tests which arguments and variables are valid. The black-box tests run setups in real containers.

use super::*;

fn arguments(words: &[&str]) -> SetupArguments {
    #[derive(clap::Parser)]
    struct Words {
        #[command(flatten)]
        arguments: SetupArguments,
    }
    let fixed = ["setup", "--checkout", "/s/checkout", "--staging", "/s", "--script", "/x"];
    let words = <Words as clap::Parser>::try_parse_from(fixed.iter().chain(words)).expect("valid arguments");
    words.arguments
}

fn read_with(pairs: &[(&str, &str)], words: &[&str]) -> Result<(Settings, Option<ArchiveSearch>), Failure> {
    let environment = pairs.iter().chain(&[("HOME", "/nowhere")]).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let caller = Caller { folder: PathBuf::from("/elsewhere"), uid: 1000, gid: 100 };
    read(&environment.collect(), caller, &arguments(words))
}

#[test]
fn a_setup_has_the_settings_of_a_run_without_those_of_codex() {
    let pairs = [
        ("CODEX_API_KEY", "sk-1"),
        ("CODEX_HOME", "/c"),
        ("CODEX_DOCKER_SESSIONS", "/t/sessions"),
        ("CODEX_DOCKER_GIT_DIR", "/t/agent.git"),
        ("CODEX_DOCKER_KEEP_AS", "of-a-run:1"),
        ("CODEX_DOCKER_MEMORY", "512m"),
        ("CODEX_CONTAINER_ENV_NPM_TOKEN", "a-long-token"),
        ("CODEX_DOCKER_SETUP_SECRETS", "NPM_TOKEN"),
    ];
    let (settings, secrets) = read_with(&pairs, &["--cache", "~/.npm", "--cache", "/opt/cache"]).expect("valid");
    assert_eq!((settings.codex_home, settings.broker, settings.keep_as), (None, None, None));
    let twin = settings.twin.map(|twin| twin.git_dir);
    assert_eq!(twin.as_deref(), Some(Path::new("/t/agent.git")), "scripts may ask for the version of the repository");
    assert_eq!((settings.folder.as_deref(), settings.inside.as_str()), (Some(Path::new("/s/checkout")), WORKTREE));
    assert_eq!(settings.limits.memory, Some(512 << 20));
    assert_eq!(settings.variables.keys().collect::<Vec<_>>(), ["NPM_TOKEN"]);
    assert!(secrets.is_some());
    let layers: Vec<_> =
        settings.layers.iter().map(|layer| (layer.target.as_str(), layer.upper.to_str().unwrap_or_default())).collect();
    assert_eq!(layers, [("/opt/cache", "/s/.layers/1"), ("/root/.npm", "/s/.layers/0")]);
}

#[test]
fn invalid_arguments_are_refused() {
    for words in [
        &["--keep", "/abs"][..],
        &["--keep", "../up"],
        &["--keep", "a/../b"],
        &["--keep", ".git/hooks"],
        &["--keep", ".git"],
        &["--keep", ""],
        &["--keep", "a//b"],
        &["--keep", "a\nb"],
        &["--cache", "relative"],
        &["--cache", "/codex-docker/in"],
        &["--keep-as", "no-tag"],
        &["--from", "relative"],
        &["--from", "/s/keep"],
    ] {
        assert!(read_with(&[], words).is_err(), "{words:?}");
    }
    let failure = read_with(&[("CODEX_DOCKER_SETUP_SECRETS", "GONE")], &[]).expect_err("the variable is not set");
    assert!(failure.message.contains("`GONE`"), "{failure:?}");
    let mut elsewhere = arguments(&[]);
    elsewhere.checkout = PathBuf::from("/other/checkout");
    let caller = Caller { folder: PathBuf::from("/"), uid: 0, gid: 0 };
    assert!(read(&BTreeMap::from([("HOME".to_owned(), "/nowhere".to_owned())]), caller, &elsewhere).is_err());
}
