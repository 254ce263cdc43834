//! Answers like Forgejo and Gitea, with the fields that a client needs. Lists are paged and cannot be filtered by branch.

use serde_json::{Value, json};

use super::state::{NotMade, PullRequest, World};
use super::{Asked, Said};

pub(super) fn answer(world: &mut World, _url: &str, asked: &Asked<'_>) -> Said {
    let path: Vec<&str> = asked.path.iter().map(String::as_str).collect();
    let ["repos", owner, name, rest @ ..] = &path[..] else { return missing() };
    if format!("{owner}/{name}") != world.project {
        return missing();
    }
    match (asked.method, rest) {
        ("GET", ["pulls"]) => {
            let open_only = asked.query("state").as_deref() == Some("open");
            let number = |name: &str, default: usize| asked.query(name).and_then(|text| text.parse().ok()).unwrap_or(default);
            let (limit, page) = (number("limit", 30), number("page", 1));
            let wanted = world.pull_requests.iter().rev().filter(|known| !open_only || known.state == "open");
            let found: Vec<_> = wanted.skip(limit * (page - 1)).take(limit).cloned().collect();
            Said::Json(200, found.iter().map(|one| pull(world, one)).collect())
        }
        ("POST", ["pulls"]) => open(world, asked),
        (method @ ("GET" | "PATCH"), ["pulls", number]) => {
            let Some(at) = world.pull_requests.iter().position(|known| known.number.to_string() == *number) else {
                return missing();
            };
            if method == "PATCH" {
                let found = &mut world.pull_requests[at];
                found.title = asked.text("title").unwrap_or_else(|| found.title.clone());
                found.body = asked.text("body").unwrap_or_else(|| found.body.clone());
            }
            let found = world.pull_requests[at].clone();
            Said::Json(if method == "PATCH" { 201 } else { 200 }, pull(world, &found))
        }
        ("GET", ["pulls", number, "reviews"]) => {
            let of = world.reviews.iter().enumerate().filter(|(_, review)| review.number.to_string() == *number);
            let comments = world.comments.iter().filter(|comment| comment.number.to_string() == *number).count();
            let each = of.map(|(at, review)| {
                let state = if review.state == "CHANGES_REQUESTED" { "REQUEST_CHANGES" } else { review.state.as_str() };
                json!({ "id": at + 1, "user": { "login": review.author }, "state": state, "body": review.body,
                    "dismissed": false, "comments_count": if at == 0 { comments } else { 0 } })
            });
            Said::Json(200, each.collect())
        }
        ("GET", ["pulls", number, "reviews", _, "comments"]) => {
            let of = world.comments.iter().filter(|comment| comment.number.to_string() == *number);
            let each = of.map(|comment| {
                let resolver = comment.resolved.then(|| json!({ "login": "somebody" }));
                json!({ "user": { "login": comment.author }, "body": comment.body, "path": comment.path,
                    "position": comment.line, "resolver": resolver })
            });
            Said::Json(200, each.collect())
        }
        ("GET", ["commits", sha, "status"]) => {
            let of = world.checks.iter().filter(|check| check.sha == *sha);
            let each: Vec<_> = of
                .map(|check| {
                    let status = check.passed.map_or("pending", |passed| if passed { "success" } else { "failure" });
                    json!({ "context": check.name, "status": status, "target_url": "https://forgejo.example/1",
                        "description": check.log })
                })
                .collect();
            let statuses = if each.is_empty() { Value::Null } else { each.into() };
            Said::Json(200, json!({ "state": "pending", "statuses": statuses }))
        }
        _ => missing(),
    }
}

fn missing() -> Said {
    Said::Json(404, json!({ "message": "The target couldn't be found.", "errors": [] }))
}

fn open(world: &mut World, asked: &Asked<'_>) -> Said {
    let text = |name: &str| asked.text(name).unwrap_or_default();
    let draft = text("title").starts_with("WIP: ");
    match world.open(&text("title"), &text("body"), &text("head"), &text("base"), draft) {
        Ok(made) => Said::Json(201, pull(world, &made)),
        Err(NotMade::Exists(_)) => Said::Json(409, json!({ "message": "pull request already exists for these targets" })),
        Err(NotMade::NoBranch(_)) => missing(),
        Err(NotMade::NoCommits) => Said::Json(422, json!({ "message": "There are no changes between the head and the base" })),
    }
}

fn pull(world: &mut World, known: &PullRequest) -> Value {
    let merged = known.state == "merged";
    json!({
        "number": known.number,
        "html_url": format!("https://forgejo.example/{}/pulls/{}", world.project, known.number),
        "title": known.title,
        "body": known.body,
        "state": if known.state == "open" { "open" } else { "closed" },
        "draft": known.draft,
        "merged": merged,
        "merged_at": merged.then(|| known.created_at.clone()),
        "created_at": known.created_at,
        "mergeable": known.mergeable.unwrap_or(true),
        "head": { "ref": known.head, "sha": world.head_of(known) },
        "base": { "ref": known.base, "sha": world.commit_of(&known.base) },
    })
}
