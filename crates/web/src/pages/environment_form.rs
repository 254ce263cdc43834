//! The form with everything that can be set for a repository: how it is filled in, shown, and read.
//!
//! Each field is checked by the model's own parser, so that a message stands beside the field that it is about. Invariant: no secret
//! that is known already, and none that was typed, stands in a page.

use std::collections::BTreeMap;

use engine::RunDefaults;
use maud::{Markup, html};
use model::ErrorCode;
use model::api::{EditEnvironment, EnvironmentView, ServerStatus};
use model::container::{ContainerNetwork, ContainerSettings, EditContainer, HostPattern};
use model::forge::{EditForge, ForgeSettings};
use model::names::{BranchName, RepositoryUrl, Title, VariableName};
use model::policy::{EditRunPolicy, RunPolicy};
use model::problem::Problem;
use model::secret::Secret;
use model::sources::{BranchPattern, EditSources};

use super::form::{Field, Form, Kind, Typed, Wrong};

/// What the names of boxes begin with that forget a secret.
const FORGET: &str = "forget:";

const VARIABLES: &[&str] = &["variables", "secret_name", "secret_value"];
const CONTAINER: &[&str] =
    &["image", "dockerfile", "user", "network", "allow_hosts", "hosted_tools", "memory", "cpus", "pids", "token_budget"];
const RUNS: &[&str] = &["max_runs", "retries", "resume_interrupted", "model", "effort"];
const SOURCES: &[&str] = &["trusted_branches", "allowed_urls"];
const FORGE: &[&str] = &["forge_kind", "forge_project", "forge_api", "forge_token"];

/// The form as it stands when nothing was typed yet.
pub(super) fn filled(one: &EnvironmentView) -> Typed {
    let mut typed = Typed::default();
    let number = |number: Option<String>| number.unwrap_or_default();
    let lines = |lines: Vec<String>| lines.join("\n");
    let container = &one.container;
    typed.set("name", one.name.as_str());
    typed.set("default_branch", one.default_branch.as_ref().map_or("", |branch| branch.as_str()));
    typed.set("variables", lines(one.variables.iter().map(|(name, value)| format!("{name}={value}")).collect()));
    typed.set("image", container.image.clone().unwrap_or_default());
    typed.set("dockerfile", container.dockerfile.clone().unwrap_or_default());
    typed.set("user", container.user.as_str());
    typed.set("network", container.network.as_str());
    typed.set("allow_hosts", lines(container.allow_hosts.iter().map(|host| host.as_str().to_owned()).collect()));
    typed.set("hosted_tools", container.hosted_tools.map_or("", model::container::HostedTools::as_str));
    typed.set("memory", container.memory.clone().unwrap_or_default());
    typed.set("cpus", number(container.cpus.map(|cpus| cpus.to_string())));
    typed.set("pids", number(container.pids.map(|pids| pids.to_string())));
    typed.set("token_budget", number(container.token_budget.map(|budget| budget.to_string())));
    typed.set("paused", if one.runs.paused { "yes" } else { "" });
    typed.set("max_runs", number(one.runs.max_parallel_runs.map(|most| most.to_string())));
    typed.set("retries", one.runs.retries.to_string());
    typed.set("resume_interrupted", one.runs.resume_interrupted.map_or("", yes_or_no));
    typed.set("model", one.runs.model.as_ref().map_or("", |model| model.as_str()));
    typed.set("effort", one.runs.effort.as_ref().map_or("", |effort| effort.as_str()));
    typed.set("trusted_branches", lines(one.sources.trusted_branches.iter().map(|branch| branch.as_str().to_owned()).collect()));
    typed.set("allowed_urls", lines(one.sources.allowed_urls.iter().map(ToString::to_string).collect()));
    typed.set("forge_kind", one.forge.kind.map_or("", model::forge::ForgeKind::as_str));
    typed.set("forge_project", one.forge.project.as_ref().map_or("", |project| project.as_str()));
    typed.set("forge_api", one.forge.api_url.as_ref().map_or("", |url| url.as_str()));
    typed
}

fn yes_or_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

/// What holds where a field is left empty.
pub(super) struct Defaults {
    image: String,
    most_runs: String,
    resume: String,
}

impl Defaults {
    pub(super) fn new(defaults: &RunDefaults, status: &ServerStatus) -> Self {
        let known = status.worker.container.as_ref().and_then(|container| container.image.as_ref());
        let image = defaults.image.clone().or_else(|| known.map(|image| image.name.clone()));
        Self {
            image: image.unwrap_or_else(|| format!("the pinned image, with Codex {}", model::CODEX_VERSION)),
            most_runs: format!("{}, the server's own limit", defaults.max_parallel_runs),
            resume: format!("as the server: {}", yes_or_no(defaults.resume_interrupted)),
        }
    }
}

/// All fields, in groups. `proposals` is a list of branches with the id `refs`.
pub(super) fn fields(form: Form<'_>, one: &EnvironmentView, defaults: &Defaults, proposals: &Markup) -> Markup {
    let group = |title: &str, open: bool, fields: &Markup| {
        html! { details.group open[open] { summary { h2 { (title) } } (fields) } }
    };
    html! {
        (form.wrong.summary())
        (form.field(Field::new("name", "Name", Kind::Words).required()))
        (form.field(Field::new("default_branch", "Branch that tasks start from", Kind::Code).empty("the remote's default").list("refs")))
        (proposals)
        (form.tick("paused", &html! { "paused: no run begins" }))
        (group("Variables and secrets", form.wrong.any(VARIABLES), &variables(form, one)))
        (group("Container", form.wrong.any(CONTAINER), &container(form, defaults)))
        (group("Runs", form.wrong.any(RUNS), &html! {
            (form.field(Field::new("max_runs", "Most runs at once", Kind::Number).empty(&defaults.most_runs).help("1 to 1000. Left empty, only the server's own limit holds.")))
            (form.field(Field::new("retries", "Tries again after a passing failure", Kind::Number).empty("0")
                .help("0 to 10. The network, an overloaded model, a rate limit.")))
            (form.choice("resume_interrupted", "Resume a run that was cut off", "After a restart of the machine, for example.",
                &[("", &defaults.resume), ("yes", "yes"), ("no", "no")]))
            (form.field(Field::new("model", "Model", Kind::Code).empty("Codex's own choice").help("Of a new task that names none.")))
            (form.field(Field::new("effort", "Reasoning effort", Kind::Code).empty("Codex's own choice").help("As in low, medium or high.")))
        }))
        (group("Submodules", form.wrong.any(SOURCES), &html! {
            p.quiet { "Submodules that the default branch names are fetched without asking. For other URLs, a task asks first." }
            (form.field(Field::new("trusted_branches", "Branches to trust like the default branch", Kind::Lines).empty("release/*")
                .help("One per line. * stands for any characters except a slash.")))
            (form.field(Field::new("allowed_urls", "URLs to fetch for any branch", Kind::Lines).empty("https://example.com/owner/library.git")
                .help("One per line. Answering a task's question with “Fetch and start” adds its URLs here.")))
        }))
        (group("Forge", form.wrong.any(FORGE), &forge(form, one)))
    }
}

fn variables(form: Form<'_>, one: &EnvironmentView) -> Markup {
    html! {
        (form.field(Field::new("variables", "Variables for the agent", Kind::Lines).empty("NAME=VALUE").help("One on a line, as NAME=VALUE. Not for secrets.")))
        @if !one.secrets.is_empty() {
            p { "Secrets there are. Their values are never shown." }
            @for name in &one.secrets { (form.tick(&format!("{FORGET}{name}"), &html! { "forget " code { (name) } })) }
        }
        (form.field(Field::new("secret_name", "Secret to set: its name", Kind::Code).empty("NAME")))
        (form.field(Field::new("secret_value", "The secret's value", Kind::Password).help("Kept by the server, given to the agent, masked in what it says. To change one, set it again.")))
    }
}

fn container(form: Form<'_>, defaults: &Defaults) -> Markup {
    let image = format!("Left empty: {}.", defaults.image);
    html! {
        p.quiet { "How the container of each run is made. These hold for the worker that runs Codex in containers." }
        (form.field(Field::new("image", "Image", Kind::Code).empty(&defaults.image).help(&image)))
        (form.field(Field::new("dockerfile", "Or a Dockerfile to build it from", Kind::Code).empty("none").help("An absolute path on the server's machine.")))
        (form.choice("user", "User", "Root can install packages.", &[("root", "root of the container"), ("caller", "the server's own user")]))
        (form.choice("network", "Network", "", &[("open", "open: everything but other containers"), ("none", "none: only the model"), ("allow", "allow: the model and the hosts below")]))
        (form.field(Field::new("allow_hosts", "Hosts that it may reach", Kind::Lines).empty("example.com").help("One on a line, where the network is “allow”: example.com, *.example.org, example.net:8443. A host on the server's own networks also needs its address and port: 10.0.0.5:4873")))
        (form.choice("hosted_tools", "The model's own tools", "Web search, fetching URLs and other tools that run at the model's provider. With an account login, the server cannot enforce “deny”.", &[("", "allowed only if the network is open"), ("allow", "allow"), ("deny", "deny")]))
        (form.field(Field::new("memory", "Memory", Kind::Code).empty("half of the machine's").help("As in 512m or 4g.")))
        (form.field(Field::new("cpus", "Processors", Kind::Code).empty("all").help("As in 2 or 0.5.")))
        (form.field(Field::new("pids", "Processes and threads", Kind::Number).empty("4096").help("At least 64.")))
        (form.field(Field::new("token_budget", "Tokens that one run may use", Kind::Number).empty("no limit")))
    }
}

fn forge(form: Form<'_>, one: &EnvironmentView) -> Markup {
    let token = if one.has_forge_token { "There is one. Left empty, it stays." } else { "There is none." };
    html! {
        (form.choice("forge_kind", "Kind of forge", "", &[("", "what the address says"), ("github", "GitHub"), ("gitlab", "GitLab"), ("forgejo", "Forgejo")]))
        (form.field(Field::new("forge_project", "Project", Kind::Code).empty("what the address says").help("owner/name")))
        (form.field(Field::new("forge_api", "Address of its API", Kind::Code).empty("that of its kind")))
        (form.field(Field::new("forge_token", "Token", Kind::Password).help(token)))
        @if one.has_forge_token { (form.tick("forget_token", &html! { "forget the token" })) }
    }
}

fn refused(detail: impl Into<String>) -> Problem {
    Problem::new(ErrorCode::FormRefused, detail)
}

/// Reads the form. What is wrong is noted beside its field.
pub(super) fn read(typed: &Typed, wrong: &mut Wrong) -> EditEnvironment {
    wrong.check("name", Title::parse(typed.text("name")));
    let default_branch = typed.given("default_branch");
    default_branch.as_deref().and_then(|branch| wrong.check("default_branch", BranchName::parse(branch)));
    let token = typed.given("forge_token").map(|token| Some(Secret::new(token)));
    let forge = EditForge {
        kind: Some(typed.given("forge_kind")),
        project: Some(typed.given("forge_project")),
        api_url: Some(typed.given("forge_api")),
        token: token.or_else(|| typed.ticked("forget_token").then_some(None)),
    };
    check_forge(&forge, wrong);
    EditEnvironment {
        name: Some(typed.text("name").to_owned()),
        default_branch,
        variables: Some(read_variables(typed, wrong)),
        secrets: read_secrets(typed, wrong),
        container: Some(read_container(typed, wrong)),
        runs: Some(read_runs(typed, wrong)),
        forge: Some(forge),
        sources: Some(read_sources(typed, wrong)),
    }
}

fn read_sources(typed: &Typed, wrong: &mut Wrong) -> EditSources {
    let lines = |field: &str| -> Vec<String> {
        typed.exact(field).lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    };
    let (branches, urls) = (lines("trusted_branches"), lines("allowed_urls"));
    for branch in &branches {
        wrong.check("trusted_branches", BranchPattern::parse(branch));
    }
    for url in &urls {
        wrong.check("allowed_urls", RepositoryUrl::parse(url));
    }
    EditSources { trusted_branches: Some(branches), allowed_urls: Some(urls) }
}

/// `NAME=VALUE` on a line.
pub(super) fn read_variables(typed: &Typed, wrong: &mut Wrong) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let text = typed.exact("variables");
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let pair = line.split_once('=').ok_or_else(|| refused("a variable is written NAME=VALUE, one on a line"));
        let Some((name, value)) = wrong.check("variables", pair) else { continue };
        let name = name.trim();
        wrong.check("variables", VariableName::parse(name));
        if variables.insert(name.to_owned(), value.to_owned()).is_some() {
            wrong.add("variables", refused(format!("`{name}` is there twice")));
        }
    }
    variables
}

fn read_secrets(typed: &Typed, wrong: &mut Wrong) -> BTreeMap<String, Option<Secret>> {
    let mut secrets: BTreeMap<_, _> = typed.ticked_behind(FORGET).map(|name| (name.to_owned(), None)).collect();
    let (name, value) = (typed.text("secret_name"), typed.exact("secret_value"));
    match (name.is_empty(), value.is_empty()) {
        (true, true) => {}
        (true, false) => wrong.add("secret_name", refused("the secret needs a name; type its value again")),
        (false, true) => wrong.add("secret_value", refused("the secret needs a value")),
        (false, false) => {
            if let Some(parsed) = wrong.check("secret_name", VariableName::parse(name)) {
                wrong.check("secret_value", Secret::new(value.clone()).checked(&parsed));
            }
            secrets.insert(name.to_owned(), Some(Secret::new(value)));
        }
    }
    secrets
}

fn number<T: std::str::FromStr>(typed: &Typed, wrong: &mut Wrong, field: &'static str) -> Option<T> {
    let text = typed.given(field)?;
    wrong.check(field, text.parse().map_err(|_| refused(format!("`{text}` is no number that can be used here"))))
}

/// Each setting by itself, so that it is known which one is refused; then all of them together.
fn read_container(typed: &Typed, wrong: &mut Wrong) -> EditContainer {
    let hosts: Vec<String> = typed
        .exact("allow_hosts")
        .split([' ', ',', '\n'])
        .map(str::trim)
        .filter(|host| !host.is_empty())
        .map(str::to_owned)
        .collect();
    let edit = EditContainer {
        image: Some(typed.given("image")),
        dockerfile: Some(typed.given("dockerfile")),
        user: Some(typed.given("user")),
        network: Some(typed.given("network")),
        allow_hosts: Some(Some(hosts.clone())),
        hosted_tools: Some(typed.given("hosted_tools")),
        memory: Some(typed.given("memory")),
        cpus: Some(number(typed, wrong, "cpus")),
        pids: Some(number(typed, wrong, "pids")),
        token_budget: Some(number(typed, wrong, "token_budget")),
    };
    let one = EditContainer::default;
    let parts = [
        ("image", EditContainer { image: edit.image.clone(), ..one() }),
        ("dockerfile", EditContainer { dockerfile: edit.dockerfile.clone(), ..one() }),
        ("user", EditContainer { user: edit.user.clone(), ..one() }),
        ("network", EditContainer { network: edit.network.clone(), ..one() }),
        ("hosted_tools", EditContainer { hosted_tools: edit.hosted_tools.clone(), ..one() }),
        ("memory", EditContainer { memory: edit.memory.clone(), ..one() }),
        ("cpus", EditContainer { cpus: edit.cpus, ..one() }),
        ("pids", EditContainer { pids: edit.pids, ..one() }),
        ("token_budget", EditContainer { token_budget: edit.token_budget, ..one() }),
    ];
    for (field, part) in parts {
        wrong.check(field, ContainerSettings::default().edited(part));
    }
    for host in &hosts {
        wrong.check("allow_hosts", HostPattern::parse(host));
    }
    if !hosts.is_empty() && typed.text("network") != ContainerNetwork::Allow.as_str() {
        wrong.add(
            "allow_hosts",
            refused("hosts are listed, but the network is not “allow”").hint("choose it above, or leave the hosts out"),
        );
    }
    if edit.image.as_ref().is_some_and(Option::is_some) && edit.dockerfile.as_ref().is_some_and(Option::is_some) {
        wrong.add("dockerfile", refused("there is an image and a Dockerfile as well").hint("leave one of them empty"));
    }
    edit
}

fn read_runs(typed: &Typed, wrong: &mut Wrong) -> EditRunPolicy {
    let edit = EditRunPolicy {
        paused: Some(typed.ticked("paused")),
        max_parallel_runs: Some(number(typed, wrong, "max_runs")),
        retries: Some(number(typed, wrong, "retries").unwrap_or(0)),
        resume_interrupted: Some(typed.given("resume_interrupted").map(|word| word == "yes")),
        model: Some(typed.given("model")),
        effort: Some(typed.given("effort")),
    };
    let one = EditRunPolicy::default;
    wrong.check("max_runs", RunPolicy::default().edited(&EditRunPolicy { max_parallel_runs: edit.max_parallel_runs, ..one() }));
    wrong.check("retries", RunPolicy::default().edited(&EditRunPolicy { retries: edit.retries, ..one() }));
    wrong.check("model", RunPolicy::default().edited(&EditRunPolicy { model: edit.model.clone(), ..one() }));
    wrong.check("effort", RunPolicy::default().edited(&EditRunPolicy { effort: edit.effort.clone(), ..one() }));
    edit
}

fn check_forge(edit: &EditForge, wrong: &mut Wrong) {
    let one = EditForge::default;
    let parts = [
        ("forge_kind", EditForge { kind: edit.kind.clone(), ..one() }),
        ("forge_project", EditForge { project: edit.project.clone(), ..one() }),
        ("forge_api", EditForge { api_url: edit.api_url.clone(), ..one() }),
    ];
    for (field, part) in parts {
        wrong.check(field, ForgeSettings::default().edited(&part));
    }
}

/// The field that a refusal of the engine is about.
pub(super) fn field_of(problem: &Problem) -> &'static str {
    match problem.report.code.known() {
        Some(ErrorCode::RepositoryUrlRefused | ErrorCode::UrlHasCredentials) => "repo_url",
        Some(ErrorCode::BranchNotFound | ErrorCode::BranchNameRefused) => "default_branch",
        Some(ErrorCode::TitleRefused) => "name",
        Some(ErrorCode::VariableRefused) => "variables",
        Some(ErrorCode::SecretRefused) => "secret_value",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(fields: &[(&str, &str)]) -> (EditEnvironment, String) {
        let (mut typed, mut wrong) = (Typed::default(), Wrong::default());
        typed.set("name", "n");
        for (name, text) in fields {
            typed.set(name, *text);
        }
        let edit = read(&typed, &mut wrong);
        (edit, wrong.summary().into_string())
    }

    #[test]
    fn each_refusal_leads_to_its_field() {
        for (field, text) in [
            ("name", ""),
            ("default_branch", "a..b"),
            ("variables", "no equals sign"),
            ("variables", "A=1\nA=2"),
            ("secret_name", "TOKEN"),
            ("image", "-v"),
            ("dockerfile", "relative"),
            ("user", "nobody"),
            ("network", "some"),
            ("allow_hosts", "example.com"),
            ("hosted_tools", "some"),
            ("memory", "lots"),
            ("cpus", "two"),
            ("cpus", "0"),
            ("pids", "3"),
            ("token_budget", "0"),
            ("max_runs", "0"),
            ("retries", "99"),
            ("model", "-m"),
            ("effort", "two words"),
            ("forge_kind", "sourceforge"),
            ("forge_project", "alone"),
            ("forge_api", "ftp://x"),
            ("trusted_branches", "two words"),
            ("allowed_urls", "ext::sh"),
        ] {
            let (_, summary) = wrong(&[(field, text)]);
            let expect = if field == "secret_name" { "secret_value" } else { field };
            assert!(summary.contains(&format!("href=\"#{expect}\"")), "{field}={text}: {summary}");
        }
    }

    #[test]
    fn empty_fields_ask_for_the_defaults() {
        let (edit, summary) = wrong(&[]);
        assert_eq!(summary, "");
        let container = edit.container.expect("all of it");
        assert_eq!((container.image, container.cpus, container.allow_hosts), (Some(None), Some(None), Some(Some(vec![]))));
        let runs = edit.runs.expect("all of it");
        assert_eq!((runs.max_parallel_runs, runs.retries, runs.resume_interrupted), (Some(None), Some(0), Some(None)));
        assert_eq!(edit.forge.expect("all of it").token, None, "a token stays");
    }

    #[test]
    fn a_secret_that_is_refused_is_not_repeated() {
        let (_, summary) = wrong(&[("secret_value", "hunter2")]);
        assert!(summary.contains("#secret_name") && !summary.contains("hunter2"), "{summary}");
    }

    /// The words of a page: text, and for each field its name and placeholder.
    fn words(html: &str) -> String {
        let mut lines: Vec<String> = vec![];
        for piece in html.split('<').skip(1) {
            let (tag, text) = piece.split_once('>').expect("a tag");
            let attribute = |name: &str| Some(tag.split_once(&format!(" {name}=\""))?.1.split('"').next()?.to_owned());
            if let Some(name) = attribute("name") {
                lines.push(format!("[{name}: {}]", attribute("placeholder").or_else(|| attribute("type")).unwrap_or_default()));
            }
            lines.push(text.trim().to_owned());
        }
        lines.retain(|line| !line.is_empty());
        lines.join("\n")
    }

    #[test]
    fn the_form_with_every_setting() {
        let one: EnvironmentView = serde_json::from_value(serde_json::json!({
            "env_id": "0199a0f0-0000-7000-8000-000000000001", "name": "app", "repo_url": "https://github.com/me/app.git",
            "default_branch": "main", "status": "ready", "error": null, "progress": null,
            "variables": { "CI": "1" }, "secrets": ["TOKEN"], "has_forge_token": true, "tasks": 2,
            "created_at": "2026-01-02T03:04:05Z", "updated_at": "2026-01-02T03:04:05Z",
        }))
        .expect("a view");
        let defaults = Defaults {
            image: "codex-docker:1".to_owned(),
            most_runs: "4, the server's own limit".to_owned(),
            resume: "as the server: no".to_owned(),
        };
        let form = Form { typed: &filled(&one), wrong: &Wrong::default() };
        insta::assert_snapshot!(words(&fields(form, &one, &defaults, &html! {}).into_string()));
    }
}
