//! Tests what each kind of worker gets and does not get. These tests start no program.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::Config;
use model::ids::{Attempt, RunNumber};
use model::image::ImageFile;
use model::names::{Setting, VariableName};
use model::secret::Secret;

use super::super::kind::{BuiltIn, Custom, Host, WorkerKind};
use super::super::variables::engine_environment;
use super::*;

const TASK: &str = "01a201f5-b7dd-79a1-8a6e-7e6639f5c650";

fn worker(asked: &str, environment: &[(&str, &str)]) -> Worker {
    let mut config = Config::for_home(Path::new("/home/me/.codex-orchestrator"));
    config.worker = Some(asked.to_owned());
    config.environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
    config.pass_environment = vec!["MY_TOKEN".to_owned()];
    config.base_environment = process::BaseEnvironment::default().with("PATH", "/bin:/usr/bin");
    let mut worker = Worker::find(&config).expect("every system has `sh`");
    worker.passed.retain(|(name, _)| name != "PATH");
    worker
}

fn call<'a>(
    variables: &'a BTreeMap<VariableName, String>,
    secrets: &'a BTreeMap<VariableName, Secret>,
    model: Option<&'a Setting>,
) -> RunCall<'a> {
    RunCall {
        task_id: TASK.parse().expect("an id"),
        run: RunNumber(2),
        attempt: Attempt(3),
        model,
        effort: model,
        app_server: None,
        resumes: Some(TASK.parse().expect("an id")),
        worktree: Path::new("/home/a \"b\"/worktree"),
        subdirectory: None,
        images: &[],
        images_folder: None,
        variables,
        secrets,
        notes: vec![],
        container: None,
    }
}

fn plain(worker: &Worker) -> WorkerCall {
    worker.call(&RunCall { resumes: None, ..call(&BTreeMap::new(), &BTreeMap::new(), None) })
}

fn value<'a>(call: &'a WorkerCall, name: &str) -> Option<&'a str> {
    call.environment.iter().find(|(known, _)| known == name).and_then(|(_, value)| value.to_str())
}

#[test]
fn the_command_line_is_the_contracts() {
    let model = Setting::parse("gpt-5.5").expect("a model");
    let made = worker("sh", &[]).call(&call(&BTreeMap::new(), &BTreeMap::new(), Some(&model)));
    let expected = format!("exec --json -m gpt-5.5 -c model_reasoning_effort=gpt-5.5 resume {TASK} -");
    assert_eq!((made.args.join(" "), made.cleanup), (expected, None));
    assert_eq!(plain(&worker("sh", &[])).args, ["exec", "--json", "-"]);
}

#[test]
fn codex_on_the_host_stays_in_its_sandbox() {
    let mut host = worker("sh", &[]);
    host.kind = Arc::new(Host { codex_home: "/c".into() });
    assert_eq!(plain(&host).args, ["exec", "--json", "-s", "workspace-write", "-"]);
}

#[test]
fn an_agent_can_start_in_a_folder_of_its_worktree() {
    let subdirectory = "services/api".to_owned().try_into().expect("a folder");
    let made = |kind: Arc<dyn WorkerKind>| {
        let mut worker = worker("sh", &[]);
        worker.kind = kind;
        let (variables, secrets) = (BTreeMap::new(), BTreeMap::new());
        worker.call(&RunCall { subdirectory: Some(&subdirectory), ..call(&variables, &secrets, None) }).args.join(" ")
    };
    let custom = made(Arc::new(Custom { codex_home: None }));
    assert_eq!(custom, format!("exec --json --cd=services/api resume {TASK} -"));
    let host = made(Arc::new(Host { codex_home: "/c".into() }));
    let roots = r#"sandbox_workspace_write.writable_roots=["/home/a \"b\"/worktree"]"#;
    assert_eq!(host, format!("exec --json -s workspace-write --cd=services/api -c {roots} resume {TASK} -"));
}

#[test]
fn every_kind_of_worker_is_told_of_images_where_it_sees_them() {
    let image = ImageFile { file: "ba7816bf8f01cfea.png".parse().expect("a name"), name: "--x, y.png".to_owned(), bytes: 7 };
    let images = [image.clone(), ImageFile { file: "ba7816bf8f01cfea.jpg".parse().expect("a name"), ..image }];
    let folder = PathBuf::from("/home/a,b/tasks/x/images");
    let made = |kind: Arc<dyn WorkerKind>| {
        let mut worker = worker("sh", &[]);
        worker.kind = kind;
        let (variables, secrets) = (BTreeMap::new(), BTreeMap::new());
        worker.call(&RunCall { images: &images, images_folder: Some(folder.clone()), ..call(&variables, &secrets, None) })
    };
    let words = |call: &WorkerCall| call.args.iter().skip_while(|word| !word.starts_with("--image")).cloned().collect::<Vec<_>>();
    let host: Arc<dyn WorkerKind> = Arc::new(Host { codex_home: "/c".into() });
    let custom: Arc<dyn WorkerKind> = Arc::new(Custom { codex_home: None });
    let built_in: Arc<dyn WorkerKind> = Arc::new(BuiltIn { program: "/p".into(), prefix: vec![] });
    for (kind, place) in [(&host, "../images"), (&built_in, "/codex-docker/images"), (&custom, "/home/a,b/tasks/x/images")] {
        let expected = [
            format!("--image={place}/ba7816bf8f01cfea.png"),
            format!("--image={place}/ba7816bf8f01cfea.jpg"),
            "resume".to_owned(),
            TASK.to_owned(),
            "-".to_owned(),
        ];
        assert_eq!(words(&made(Arc::clone(kind))), expected);
    }
    assert_eq!(value(&made(custom), "CODEX_MOUNT_PATHS_RO"), folder.to_str());
    assert_eq!(value(&made(host), "CODEX_MOUNT_PATHS_RO"), None);
}

#[test]
fn other_files_are_listed_after_the_prompt_and_are_no_images() {
    let file = ImageFile { file: "ba7816bf8f01cfea.bin".parse().expect("a name"), name: "report.csv".to_owned(), bytes: 7 };
    let (variables, secrets) = (BTreeMap::new(), BTreeMap::new());
    let mut worker = worker("sh", &[]);
    worker.kind = Arc::new(BuiltIn { program: "/p".into(), prefix: vec![] });
    let with = |images: &[ImageFile]| {
        let call = RunCall { images, images_folder: Some("/i".into()), ..call(&variables, &secrets, None) };
        (worker.attachments(&call), worker.call(&call).args.iter().any(|word| word.starts_with("--image")))
    };
    let list = "\n\nAttached files:\n- /codex-docker/images/ba7816bf8f01cfea.bin (report.csv)\n";
    assert_eq!(with(std::slice::from_ref(&file)), (list.to_owned(), false));
    let image = ImageFile { file: "ba7816bf8f01cfea.png".parse().expect("a name"), ..file };
    assert_eq!(with(&[image]), (String::new(), true));
}

#[test]
fn nothing_of_the_servers_environment_passes_but_what_is_listed() {
    let server = [("AWS_SECRET_ACCESS_KEY", "x"), ("ORCH_GITHUB_TOKEN", "x"), ("SSH_AUTH_SOCK", "/x"), ("CODEX_API_KEY", "k")];
    let made = plain(&worker("sh", &server));
    let names: Vec<_> = made.environment.iter().filter_map(|(name, _)| name.to_str()).collect();
    assert_eq!(names, ["CODEX_API_KEY", "CODEX_PASSTHROUGH_ENV", "CONTAINER_NAME", "ORCH_RUN"]);
    assert_eq!(value(&made, "CODEX_PASSTHROUGH_ENV"), Some("CODEX_API_KEY,ORCH_RUN"));
}

#[test]
fn the_list_of_what_may_pass_is_never_empty() {
    let made = plain(&worker("sh", &[]));
    assert_eq!(value(&made, "CODEX_PASSTHROUGH_ENV"), Some("ORCH_RUN"));
    assert_eq!(value(&made, "CONTAINER_NAME"), Some(format!("codex-{TASK}-run-002").as_str()));
    assert_eq!(value(&made, "ORCH_RUN"), Some(format!("{TASK}/2/3").as_str()));
}

#[test]
fn variables_and_asked_for_names_reach_the_agent() {
    let variables = BTreeMap::from([(VariableName::parse("RUST_LOG").expect("a name"), "debug".to_owned())]);
    let secrets = BTreeMap::from([(VariableName::parse("TOKEN").expect("a name"), Secret::new("hunter2"))]);
    let made = worker("sh", &[("MY_TOKEN", "t")]).call(&call(&variables, &secrets, None));
    assert_eq!(value(&made, "CODEX_CONTAINER_ENV_RUST_LOG"), Some("debug"));
    assert_eq!(value(&made, "RUST_LOG"), Some("debug"));
    assert_eq!((value(&made, "TOKEN"), value(&made, "CODEX_CONTAINER_ENV_TOKEN")), (Some("hunter2"), Some("hunter2")));
    assert_eq!(value(&made, "MY_TOKEN"), Some("t"));
    assert_eq!(value(&made, "CODEX_PASSTHROUGH_ENV"), Some("MY_TOKEN,ORCH_RUN"));
}

#[test]
fn housekeeping_gets_the_way_to_the_engine_and_no_key() {
    let mut config = Config::for_home(Path::new("/h"));
    config.base_environment = process::BaseEnvironment::default().with("PATH", "/bin");
    for (name, value) in [("DOCKER_HOST", "unix:///d"), ("CODEX_API_KEY", "k"), ("MY_TOKEN", "t")] {
        config.environment.insert(name.into(), value.into());
    }
    config.pass_environment = vec!["MY_TOKEN".to_owned()];
    let names: Vec<_> = engine_environment(&config).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["CODEX_DOCKER_FORMER_STATE", "CODEX_DOCKER_STATE", "DOCKER_HOST", "PATH"]);
}
