//! An agent without a container: its agent repository, its changes in the worktree, and the export. It can do only what an
//! agent in a container can do.

use std::path::{Path, PathBuf};

use git::{Decision, ImportError, ImportRequest, Makers, RunTrailers, Signature, Snapshot, TwinSpec, Worktree};
use model::bundle::HarvestReport;
use model::commit::{Choices, Limits};
use model::ids::ObjectId;
use process::{CommandSpec, Stdout, Tool};
use secret_forms::SecretSearch;

use super::{Bench, base};

/// The script that runs in the export container.
const HARVEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../codex-docker/src/harvest/harvest.sh");

/// The largest bundle that an import accepts.
pub(crate) const LIMIT_BYTES: u64 = 4 << 20;

/// A task whose agent has an agent repository.
pub(crate) struct Agent<'b> {
    pub(crate) bench: &'b Bench,
    pub(crate) task: String,
    pub(crate) worktree: Worktree,
    pub(crate) twin: PathBuf,
    pub(crate) out: PathBuf,
    /// The author, the committer and the key of the commits that end its runs.
    pub(crate) makers: Makers,
    /// The secrets that no commit may contain.
    pub(crate) secrets: Option<SecretSearch>,
    /// The message of the server's own commit.
    pub(crate) message: &'static str,
}

/// The result of an export: its exit code and its output.
pub(crate) struct Harvested {
    pub(crate) code: Option<i32>,
    pub(crate) said: String,
}

impl<'b> Agent<'b> {
    /// Creates a task's worktree and its agent repository.
    pub(crate) async fn new(bench: &'b Bench, task: &str) -> Self {
        Self::in_worktree(bench, task, bench.worktree(task).await).await
    }

    /// Creates the agent repository of a task whose worktree exists.
    pub(crate) async fn in_worktree(bench: &'b Bench, task: &str, worktree: Worktree) -> Self {
        let agent = Self {
            bench,
            task: task.to_owned(),
            worktree,
            twin: bench.path(&format!("tasks/{task}/agent.git")),
            out: bench.path(&format!("tasks/{task}/out")),
            makers: Makers::default(),
            secrets: None,
            message: "",
        };
        agent.ensure_twin().await;
        agent
    }

    pub(crate) async fn ensure_twin(&self) {
        let objects = self.objects();
        self.worktree.ensure_twin(self.spec(&objects, &Signature::default())).await.expect("the agent repository is created");
    }

    /// Renews the agent repository, as the server does before each further run.
    pub(crate) async fn renew_twin(&self) {
        let objects = self.objects();
        self.worktree.renew_twin(self.spec(&objects, &Signature::default())).await.expect("the agent repository is renewed");
    }

    fn spec<'a>(&'a self, objects: &'a str, author: &'a Signature) -> TwinSpec<'a> {
        TwinSpec {
            path: &self.twin,
            keep_base_as: &self.task,
            objects_inside: objects,
            origin_url: "https://example.org/a \"b\".git",
            author,
        }
    }

    /// Moves the agent repository aside and creates a new one. Returns the new path of the old one.
    pub(crate) async fn begin_anew(&self) -> PathBuf {
        let aside = self
            .worktree
            .put_twin_aside(&self.twin)
            .await
            .expect("the agent repository is renamed")
            .expect("an agent repository existed");
        self.ensure_twin().await;
        aside
    }

    /// Returns where the agent sees the mirror's objects. Without a container, that is their real path.
    pub(crate) fn objects(&self) -> String {
        self.bench.mirror.path().join("objects").display().to_string()
    }

    /// Runs git as the agent does, in the agent repository.
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        let (git_dir, work_tree) =
            (format!("--git-dir={}", self.twin.display()), format!("--work-tree={}", self.tree().display()));
        let arguments: Vec<_> = [git_dir.as_str(), &work_tree].into_iter().chain(arguments.iter().copied()).collect();
        self.bench.by_hand(self.tree(), &arguments)
    }

    pub(crate) fn tree(&self) -> &Path {
        self.worktree.path()
    }

    /// Writes a file of the worktree.
    pub(crate) fn write(&self, path: &str, content: &str) {
        super::write(&self.worktree, path, content);
    }

    /// Writes a file and commits it, as the agent does.
    pub(crate) fn commit(&self, path: &str, content: &str) -> String {
        self.write(path, content);
        self.git(&["add", "--", path]);
        self.git(&["commit", "--quiet", "-m", path]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Writes an object to the agent repository, even if it is invalid.
    pub(crate) fn object(&self, kind: &str, content: &[u8]) -> String {
        let file = self.bench.path("object");
        std::fs::write(&file, content).expect("a file");
        self.git(&["hash-object", "-w", "--literally", "-t", kind, &file.display().to_string()])
    }

    /// Returns the tip of the task's branch in the mirror.
    pub(crate) fn tip(&self) -> String {
        self.bench.commit_of(&format!("refs/heads/codex/{}", self.task))
    }

    /// Runs the export script with the usual environment variables and the ones in `more`. If the script asks what to leave out,
    /// decides like the host and runs it again.
    pub(crate) async fn try_harvest(&self, run: &str, since: &str, more: &[(&str, &str)]) -> Harvested {
        self.harvest_with(run, since, more, &Choices::default()).await
    }

    /// Runs the export script with limits and decisions of people.
    pub(crate) async fn harvest_with(&self, run: &str, since: &str, more: &[(&str, &str)], choices: &Choices) -> Harvested {
        let file = super::omitted(&self.worktree, run);
        let decision = Decision { file: Some(&file), choices, secrets: self.secrets.as_ref() };
        let list = self.bench.path(&format!("tasks/{}/leave-out", self.task));
        if decision.stored().expect("readable").is_none() {
            let Limits { files, bytes, file_bytes } = choices.limits;
            let limits = [("FILES", files), ("BYTES", bytes), ("FILE_BYTES", file_bytes)];
            let limits = limits.map(|(name, limit)| (format!("HARVEST_RUN_{name}"), limit.to_string()));
            let mut environment: Vec<_> = limits.iter().map(|(name, limit)| (name.as_str(), limit.as_str())).collect();
            environment.extend(decision.has_choices().then_some(("HARVEST_ASK", "always")));
            environment.extend(more);
            let ended = self.harvest_once(run, since, &environment).await;
            if ended.code != Some(9) {
                return ended;
            }
            decision.make_for_export(&self.out, self.worktree.path()).expect("the list is valid");
        }
        let selection = decision.stored().expect("readable").expect("it was made");
        std::fs::write(&list, selection.as_list()).expect("a file");
        let list = list.display().to_string();
        let environment: Vec<_> = more.iter().copied().chain([("HARVEST_LEAVE_OUT", list.as_str())]).collect();
        self.harvest_once(run, since, &environment).await
    }

    async fn harvest_once(&self, run: &str, since: &str, more: &[(&str, &str)]) -> Harvested {
        std::fs::create_dir_all(&self.out).expect("a folder");
        let message = self.bench.path(&format!("tasks/{}/message", self.task));
        let text = format!("Do it\n\nDone.\n\nTask-Id: {}\nRun: {run}\n", self.worktree.branch());
        std::fs::write(&message, text).expect("a file");
        let cone = self.worktree.cone();
        let expressions: Vec<_> = cone.expressions().iter().map(|expression| format!("^[^\t]*\t{expression}\n")).collect();
        let inputs = [("cone", expressions.concat()), ("patterns", cone.patterns())].map(|(name, content)| {
            let file = self.bench.path(&format!("tasks/{}/{name}", self.task));
            if !cone.is_everything() {
                std::fs::write(&file, content).expect("a file");
            }
            file
        });
        let base = base(self.bench.folder.path());
        let makers = [("AUTHOR", &self.makers.author), ("COMMITTER", &self.makers.committer)];
        let replaced = self.worktree.replaced_by_signing().await.expect("git answers");
        let shell = Tool::find("sh", &base).expect("a shell is part of every system");
        let command = CommandSpec::new(&shell, &base, "/").arg(HARVEST);
        let command = command
            .env("HARVEST_WORKTREE", self.tree())
            .env("HARVEST_GIT_DIR", &self.twin)
            .env("HARVEST_OUT", &self.out)
            .env("HARVEST_MESSAGE", &message)
            .env("HARVEST_LEAVE_OUT", "/nowhere")
            .env("HARVEST_CONE", &inputs[0])
            .env("HARVEST_PATTERNS", &inputs[1])
            .env("HARVEST_OBJECTS", self.objects())
            .env("HARVEST_BRANCH", self.worktree.branch())
            .env("HARVEST_SINCE", since)
            .envs(makers.map(|(who, by)| (format!("GIT_{who}_NAME"), &by.name)))
            .envs(makers.map(|(who, by)| (format!("GIT_{who}_EMAIL"), &by.email)))
            .envs(replaced.iter().map(|commit| ("HARVEST_REPLACED", commit.as_str())))
            .envs(more.iter().copied());
        let ended = command.stdout(Stdout::Capture { max: 1 << 20 }).deadline(super::PATIENCE).run().await.expect("it runs");
        assert_eq!(ended.text(), "", "the script prints nothing to stdout");
        Harvested { code: ended.status.code(), said: ended.stderr_tail }
    }

    /// Runs the export script and reads its report.
    pub(crate) async fn harvest_since(&self, run: &str, since: &str) -> HarvestReport {
        let ended = self.try_harvest(run, since, &[]).await;
        assert_eq!(ended.code, Some(0), "{}", ended.said);
        self.report()
    }

    /// Returns the report of the last export.
    pub(crate) fn report(&self) -> HarvestReport {
        HarvestReport::parse(&std::fs::read(self.out.join("result")).expect("the report was written"))
            .expect("the report is valid")
    }

    pub(crate) async fn try_import(&self, run: &str, since: &str) -> Result<Snapshot, ImportError> {
        let since: ObjectId = since.parse().expect("an id");
        let trailers = RunTrailers { task_id: self.worktree.branch(), run, thread_id: None };
        let lfs_objects = &self.twin.join("lfs/objects");
        let (file, choices) = (super::omitted(&self.worktree, run), Choices::default());
        let stored =
            Decision { file: Some(&file), choices: &choices, secrets: self.secrets.as_ref() }.stored().expect("readable");
        let request = ImportRequest {
            out: &self.out,
            since: &since,
            message: self.message,
            trailers,
            limit_bytes: LIMIT_BYTES,
            lfs_objects,
            makers: &self.makers,
            selection: &stored.unwrap_or_default(),
            secrets: self.secrets.as_ref(),
        };
        self.worktree.import(request).await
    }

    /// Ends a run: export and import.
    pub(crate) async fn end_run(&self, run: &str) -> Snapshot {
        self.end_run_with(run, &Choices::default()).await
    }

    /// Ends a run with limits and decisions of people.
    pub(crate) async fn end_run_with(&self, run: &str, choices: &Choices) -> Snapshot {
        let since = self.tip();
        let ended = self.harvest_with(run, &since, &[], choices).await;
        assert_eq!(ended.code, Some(0), "{}", ended.said);
        let taken = self.try_import(run, &since).await.expect("the import succeeds");
        assert_eq!(self.tip(), taken.head.to_string());
        assert_eq!(
            self.git(&["rev-parse", self.worktree.branch()]),
            taken.head.to_string(),
            "the mirror and the agent repository have the same commit"
        );
        assert_eq!(self.git(&["symbolic-ref", "HEAD"]), format!("refs/heads/{}", self.worktree.branch()));
        taken
    }

    /// Returns the uncommitted changes that git reports with the agent repository, and those that it reports with the mirror.
    pub(crate) fn status(&self) -> (String, String) {
        (self.git(&["status", "--porcelain"]), self.bench.by_hand(self.tree(), &["status", "--porcelain"]))
    }
}

/// What an agent does: a function of its worktree and of a function that runs git.
pub(crate) type Deed<'a> = &'a dyn Fn(&Path, &dyn Fn(&[&str]) -> String);

/// Does `deed` in two tasks and then ends their runs: one on the host, the other with the script that runs in a container.
pub(crate) async fn both_with(bench: &Bench, name: &str, choices: &Choices, deed: Deed<'_>) -> [Snapshot; 2] {
    let task = format!("host-{name}");
    let worktree = bench.worktree(&task).await;
    deed(worktree.path(), &|arguments| bench.by_hand(worktree.path(), arguments));
    let on_host = super::snapshot_with(&worktree, "1", choices).await.expect("the worktree can be committed");
    assert_eq!(bench.commit_of(&format!("refs/heads/{}", super::branch(&task))), on_host.head.to_string());

    let agent = Agent::new(bench, &format!("contained-{name}")).await;
    deed(agent.tree(), &|arguments| agent.git(arguments));
    let contained = agent.end_run_with("1", choices).await;
    [on_host, contained]
}

/// Returns the bytes of an object ID, which tree objects contain instead of its hexadecimal form.
pub(crate) fn raw(id: &str) -> Vec<u8> {
    (0..id.len()).step_by(2).map(|at| u8::from_str_radix(&id[at..at + 2], 16).expect("hex")).collect()
}
