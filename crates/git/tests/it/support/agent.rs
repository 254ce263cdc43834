//! An agent without a container: its agent repository, its changes in the worktree, and the export. It can do only what an
//! agent in a container can do.

use std::path::{Path, PathBuf};

use git::{ImportError, ImportRequest, RunTrailers, Signature, Snapshot, TwinSpec, Worktree};
use model::bundle::HarvestReport;
use model::ids::ObjectId;
use process::{CommandSpec, Stdout, Tool};

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
}

/// The result of an export: its exit code and its output.
pub(crate) struct Harvested {
    pub(crate) code: Option<i32>,
    pub(crate) said: String,
}

impl<'b> Agent<'b> {
    /// Creates a task's worktree and its agent repository.
    pub(crate) async fn new(bench: &'b Bench, task: &str) -> Self {
        let worktree = bench.worktree(task).await;
        let agent = Self {
            bench,
            task: task.to_owned(),
            worktree,
            twin: bench.path(&format!("tasks/{task}/agent.git")),
            out: bench.path(&format!("tasks/{task}/out")),
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

    /// Runs the export script with the usual environment variables and the ones in `more`.
    pub(crate) async fn try_harvest(&self, run: &str, since: &str, more: &[(&str, &str)]) -> Harvested {
        std::fs::create_dir_all(&self.out).expect("a folder");
        let message = self.bench.path(&format!("tasks/{}/message", self.task));
        let text = format!("Do it\n\nDone.\n\nTask-Id: {}\nRun: {run}\n", self.worktree.branch());
        std::fs::write(&message, text).expect("a file");
        let base = base(self.bench.folder.path());
        let shell = Tool::find("sh", &base).expect("a shell is part of every system");
        let command = CommandSpec::new(&shell, &base, "/").arg(HARVEST);
        let command = command
            .env("HARVEST_WORKTREE", self.tree())
            .env("HARVEST_GIT_DIR", &self.twin)
            .env("HARVEST_OUT", &self.out)
            .env("HARVEST_MESSAGE", &message)
            .env("HARVEST_OBJECTS", self.objects())
            .env("HARVEST_BRANCH", self.worktree.branch())
            .env("HARVEST_SINCE", since)
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "Codex")))
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_EMAIL"), "codex@localhost")))
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
        self.worktree
            .import(ImportRequest { out: &self.out, since: &since, trailers, limit_bytes: LIMIT_BYTES, lfs_objects })
            .await
    }

    /// Ends a run: export and import.
    pub(crate) async fn end_run(&self, run: &str) -> Snapshot {
        let since = self.tip();
        self.harvest_since(run, &since).await;
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

/// Returns the bytes of an object ID, which tree objects contain instead of its hexadecimal form.
pub(crate) fn raw(id: &str) -> Vec<u8> {
    (0..id.len()).step_by(2).map(|at| u8::from_str_radix(&id[at..at + 2], 16).expect("hex")).collect()
}
