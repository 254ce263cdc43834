//! Answers like GitLab, with those fields of its documented examples that a client needs. The number of a merge request is its
//! `iid`.

use serde_json::{Value, json};

use super::state::{NotMade, PullRequest, World};
use super::{Asked, Said};

pub(super) fn answer(world: &mut World, _url: &str, asked: &Asked<'_>) -> Said {
    let path: Vec<&str> = asked.path.iter().map(String::as_str).collect();
    let ["projects", project, rest @ ..] = &path[..] else { return missing() };
    if *project != world.project {
        return missing();
    }
    match (asked.method, rest) {
        ("GET", ["merge_requests"]) => {
            let (state, branch) = (asked.query("state"), asked.query("source_branch"));
            let wanted = |known: &&PullRequest| {
                state.as_deref().is_none_or(|state| state == "all" || (state == "opened") == (known.state == "open"))
                    && branch.as_ref().is_none_or(|branch| *branch == known.head)
            };
            let found: Vec<_> = world.pull_requests.iter().rev().filter(wanted).cloned().collect();
            Said::Json(200, found.iter().map(|one| merge_request(world, one)).collect())
        }
        ("POST", ["merge_requests"]) => open(world, asked),
        (method @ ("GET" | "PUT"), ["merge_requests", number]) => {
            let Some(at) = world.pull_requests.iter().position(|known| known.number.to_string() == *number) else {
                return missing();
            };
            if method == "PUT" {
                let found = &mut world.pull_requests[at];
                found.title = asked.text("title").unwrap_or_else(|| found.title.clone());
                found.body = asked.text("description").unwrap_or_else(|| found.body.clone());
            }
            let found = world.pull_requests[at].clone();
            Said::Json(200, merge_request(world, &found))
        }
        ("GET", ["merge_requests", number, "approvals"]) => {
            let of = world.reviews.iter().filter(|review| review.number.to_string() == *number && review.state == "APPROVED");
            let by: Vec<_> = of.map(|review| json!({ "user": { "username": review.author } })).collect();
            Said::Json(200, json!({ "approved_by": by }))
        }
        ("GET", ["merge_requests", number, "discussions"]) => {
            let of = world.comments.iter().filter(|comment| comment.number.to_string() == *number);
            let each = of.map(|comment| {
                let position = json!({ "new_path": comment.path, "new_line": comment.line });
                let note = json!({ "body": comment.body, "author": { "username": comment.author }, "system": false,
                    "resolvable": true, "resolved": comment.resolved, "position": position });
                json!({ "id": "1", "notes": [note] })
            });
            Said::Json(200, each.collect())
        }
        ("GET", ["repository", "commits", sha, "statuses"]) => {
            let of = world.checks.iter().filter(|check| check.sha == *sha);
            let each = of.map(|check| {
                let status = check.passed.map_or("running", |passed| if passed { "success" } else { "failed" });
                json!({ "id": check.id, "name": check.name, "status": status, "target_url": "https://gitlab.example/-/jobs/1",
                    "allow_failure": false })
            });
            Said::Json(200, each.collect())
        }
        ("GET", ["jobs", id, "trace"]) => Said::Text(world.log_of(id.parse().unwrap_or_default())),
        _ => missing(),
    }
}

fn missing() -> Said {
    Said::Json(404, json!({ "message": "404 Project Not Found" }))
}

fn open(world: &mut World, asked: &Asked<'_>) -> Said {
    let text = |name: &str| asked.text(name).unwrap_or_default();
    let draft = text("title").starts_with("Draft: ");
    match world.open(&text("title"), &text("description"), &text("source_branch"), &text("target_branch"), draft) {
        Ok(made) => Said::Json(201, merge_request(world, &made)),
        Err(NotMade::Exists(number)) => {
            let message = format!("Another open merge request already exists for this source branch: !{number}");
            Said::Json(409, json!({ "message": [message] }))
        }
        Err(NotMade::NoBranch(_)) => Said::Json(400, json!({ "message": { "source_branch": ["does not exist"] } })),
        Err(NotMade::NoCommits) => Said::Json(400, json!({ "message": "there are no commits" })),
    }
}

fn merge_request(world: &mut World, known: &PullRequest) -> Value {
    let state = match known.state.as_str() {
        "open" => "opened",
        other => other,
    };
    json!({
        "id": 1000 + known.number,
        "iid": known.number,
        "web_url": format!("https://gitlab.example/{}/-/merge_requests/{}", world.project, known.number),
        "title": known.title,
        "description": known.body,
        "state": state,
        "draft": known.draft,
        "created_at": known.created_at,
        "source_branch": known.head,
        "target_branch": known.base,
        "sha": world.head_of(known),
        "merge_status": if known.mergeable.is_some() { "can_be_merged" } else { "checking" },
        "has_conflicts": known.mergeable == Some(false),
    })
}
