//! Answers like GitHub, based on the examples in GitHub's published API description (MIT), which are in `samples`. Known fields
//! are replaced, and the others keep their values.

use serde_json::{Value, json};

use super::state::{Check, NotMade, PullRequest, World};
use super::{Asked, Said};

const PULL_REQUEST: &str = include_str!("samples/pull_request.json");
const CHECK_RUN: &str = include_str!("samples/check_run.json");
const REVIEW: &str = include_str!("samples/review.json");

/// The fields of a pull request that are missing in lists.
const NOT_IN_LISTS: [&str; 13] = [
    "merged",
    "mergeable",
    "rebaseable",
    "mergeable_state",
    "merged_by",
    "comments",
    "review_comments",
    "maintainer_can_modify",
    "commits",
    "additions",
    "deletions",
    "changed_files",
    "allow_auto_merge",
];

fn sample(text: &str) -> Value {
    serde_json::from_str(text).expect("a sample is JSON")
}

fn refusal(status: u16, message: &str, errors: &[Value]) -> Said {
    let mut body =
        json!({ "message": message, "documentation_url": "https://docs.github.com/rest", "status": status.to_string() });
    if !errors.is_empty() {
        body["errors"] = errors.into();
    }
    Said::Json(status, body)
}

pub(super) fn answer(world: &mut World, url: &str, asked: &Asked<'_>) -> Said {
    let path: Vec<&str> = asked.path.iter().map(String::as_str).collect();
    if let ("POST", ["graphql"]) = (asked.method, &path[..]) {
        return Said::Json(200, threads(world, asked));
    }
    let ["repos", owner, name, rest @ ..] = &path[..] else { return refusal(404, "Not Found", &[]) };
    let project = format!("{owner}/{name}");
    if world.old_projects.contains(&project) {
        let query = if asked.query.is_empty() { String::new() } else { format!("?{}", asked.query) };
        return Said::Elsewhere(301, format!("{url}/repos/{}/{}{query}", world.project, rest.join("/")));
    }
    if project != world.project {
        return refusal(404, "Not Found", &[]);
    }
    match (asked.method, rest) {
        ("GET", ["pulls"]) => list(world, asked),
        ("POST", ["pulls"]) => open(world, asked),
        (method @ ("GET" | "PATCH"), ["pulls", number]) => {
            let Some(at) = world.pull_requests.iter().position(|known| known.number.to_string() == *number) else {
                return refusal(404, "Not Found", &[]);
            };
            if method == "PATCH" {
                let found = &mut world.pull_requests[at];
                found.title = asked.text("title").unwrap_or_else(|| found.title.clone());
                found.body = asked.text("body").unwrap_or_else(|| found.body.clone());
            }
            let found = world.pull_requests[at].clone();
            Said::Json(200, pull(world, &found))
        }
        ("GET", ["pulls", number, "reviews"]) => Said::Json(200, reviews(world, number)),
        ("GET", ["commits", sha, "check-runs"]) => {
            let runs: Vec<_> = world.checks.iter().filter(|check| check.sha == *sha).map(check_run).collect();
            Said::Json(200, json!({ "total_count": runs.len(), "check_runs": runs }))
        }
        ("GET", ["actions", "jobs", id, "logs"]) => Said::Elsewhere(302, url.replace("127.0.0.1", "localhost") + "/blobs/" + id),
        _ => refusal(404, "Not Found", &[]),
    }
}

fn list(world: &mut World, asked: &Asked<'_>) -> Said {
    let state = asked.query("state").unwrap_or_else(|| "open".to_owned());
    let owner = world.project.split('/').next().unwrap_or_default().to_owned();
    let head = asked.query("head");
    let found: Vec<PullRequest> = world
        .pull_requests
        .iter()
        .rev()
        .filter(|known| state == "all" || (state == "open") == (known.state == "open"))
        .filter(|known| head.as_ref().is_none_or(|head| *head == format!("{owner}:{}", known.head)))
        .cloned()
        .collect();
    let items = found.iter().map(|one| {
        let mut item = pull(world, one);
        let fields = item.as_object_mut().expect("an object");
        fields.retain(|name, _| !NOT_IN_LISTS.contains(&name.as_str()));
        item
    });
    Said::Json(200, items.collect())
}

fn open(world: &mut World, asked: &Asked<'_>) -> Said {
    let text = |name: &str| asked.text(name).unwrap_or_default();
    if text("title").is_empty() || text("title").chars().count() > 256 || text("body").chars().count() > 65_536 {
        return refusal(
            422,
            "Validation Failed",
            &[json!({ "resource": "Issue", "code": "custom", "field": "body", "message": "body is too long" })],
        );
    }
    let draft = asked.body.as_ref().is_some_and(|body| body["draft"] == true);
    let (head, base) = (text("head"), text("base"));
    let error = match world.open(&text("title"), &text("body"), &head, &base, draft) {
        Ok(made) => return Said::Json(201, pull(world, &made)),
        Err(NotMade::NoBranch(field)) => json!({ "resource": "PullRequest", "field": field, "code": "invalid" }),
        Err(NotMade::NoCommits) => {
            json!({ "resource": "PullRequest", "code": "custom", "message": format!("No commits between {base} and {head}") })
        }
        Err(NotMade::Exists(_)) => {
            let owner = world.project.split('/').next().unwrap_or_default();
            json!({ "resource": "PullRequest", "code": "custom", "message": format!("A pull request already exists for {owner}:{head}.") })
        }
    };
    refusal(422, "Validation Failed", &[error])
}

fn pull(world: &mut World, known: &PullRequest) -> Value {
    let mut value = sample(PULL_REQUEST);
    let head = world.head_of(known);
    let merged = known.state == "merged";
    for (name, field) in [
        ("number", json!(known.number)),
        ("html_url", json!(format!("https://github.com/{}/pull/{}", world.project, known.number))),
        ("title", json!(known.title)),
        ("body", json!(known.body)),
        ("draft", json!(known.draft)),
        ("state", json!(if known.state == "open" { "open" } else { "closed" })),
        ("merged", json!(merged)),
        ("merged_at", if merged { json!(known.created_at) } else { Value::Null }),
        ("closed_at", if known.state == "open" { Value::Null } else { json!(known.created_at) }),
        ("created_at", json!(known.created_at)),
        ("updated_at", json!(known.created_at)),
        ("mergeable", json!(known.mergeable)),
        ("locked", json!(false)),
    ] {
        value[name] = field;
    }
    value["head"]["ref"] = json!(known.head);
    value["head"]["sha"] = json!(head);
    value["base"]["ref"] = json!(known.base);
    value["base"]["sha"] = json!(world.commit_of(&known.base));
    value
}

fn check_run(check: &Check) -> Value {
    let mut value = sample(CHECK_RUN);
    value["id"] = json!(check.id);
    value["head_sha"] = json!(check.sha);
    value["name"] = json!(check.name);
    value["status"] = json!(if check.passed.is_some() { "completed" } else { "in_progress" });
    value["conclusion"] = json!(check.passed.map(|passed| if passed { "success" } else { "failure" }));
    if check.passed.is_none() {
        value["completed_at"] = Value::Null;
    }
    value["app"]["slug"] = json!("github-actions");
    value
}

fn reviews(world: &World, number: &str) -> Value {
    let of = world.reviews.iter().filter(|review| review.number.to_string() == number);
    of.map(|review| {
        let mut value = sample(REVIEW);
        value["user"]["login"] = json!(review.author);
        value["state"] = json!(review.state);
        value["body"] = json!(review.body);
        value
    })
    .collect()
}

fn threads(world: &World, asked: &Asked<'_>) -> Value {
    let number = asked.body.as_ref().and_then(|body| body["variables"]["number"].as_u64());
    let of = world.comments.iter().filter(|comment| Some(comment.number) == number);
    let nodes: Vec<_> = of
        .map(|comment| {
            let said = json!([{ "author": { "login": comment.author }, "body": comment.body }]);
            json!({ "isResolved": comment.resolved, "path": comment.path, "line": comment.line, "comments": { "nodes": said } })
        })
        .collect();
    json!({ "data": { "repository": { "pullRequest": { "reviewThreads": { "nodes": nodes } } } } })
}
