//! A real upstream repository: a bare repository in a temporary folder whose branches tests update, rewrite and delete.
//!
//! All commands run the git on `PATH` with a fixed environment: git reads no user or system configuration, and commits have fixed
//! authors. The repository has no working tree, so commits are created from their content.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A bare repository to clone from.
#[derive(Debug)]
pub struct Upstream {
    folder: TempDir,
    repository: PathBuf,
}

impl Default for Upstream {
    fn default() -> Self {
        Self::new()
    }
}

impl Upstream {
    /// Creates a repository with one commit on `main`: a `README.md` that contains `hello`.
    pub fn new() -> Self {
        let upstream = Self::empty();
        upstream.commit("main", &[("README.md", "hello\n")], "start");
        upstream
    }

    /// Creates a repository with this number of text files of 40 lines below `src/`, for operations that take long in a large
    /// repository.
    pub fn with_files(count: usize) -> Self {
        let upstream = Self::new();
        let text = |n: usize| (format!("src/{}/file{n}.txt", n % 50), format!("line {n}\n").repeat(40));
        let files: Vec<_> = (0..count).map(text).collect();
        let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        upstream.commit("main", &files, "many files");
        upstream
    }

    /// Creates a repository without commits whose HEAD is `main`.
    pub fn empty() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be created");
        let root = folder.path().canonicalize().expect("the folder was just created");
        let upstream = Self { repository: root.join("upstream.git"), folder };
        upstream.git_in(&root, &["init", "--quiet", "--bare", "--initial-branch=main", "upstream.git"]);
        upstream
    }

    /// Returns the path.
    pub fn path(&self) -> &Path {
        &self.repository
    }

    /// Returns the absolute path, which git accepts as a URL.
    pub fn url(&self) -> String {
        self.repository.display().to_string()
    }

    /// Returns the `file://` URL.
    pub fn file_url(&self) -> String {
        format!("file://{}", self.repository.display())
    }

    /// Commits files on top of a branch and moves the branch. A new branch starts from `main` if that exists.
    pub fn commit(&self, branch: &str, files: &[(&str, &str)], message: &str) -> String {
        let parent = self.commit_of(branch).or_else(|| self.commit_of("main"));
        let commit = self.commit_on(parent.as_deref(), files, message);
        self.point(&format!("refs/heads/{branch}"), &commit);
        commit
    }

    /// Replaces the history of a branch with one new commit without parents, like a force push.
    pub fn rewrite(&self, branch: &str, files: &[(&str, &str)], message: &str) -> String {
        let commit = self.commit_on(None, files, message);
        self.point(&format!("refs/heads/{branch}"), &commit);
        commit
    }

    /// Commits a submodule on top of a branch.
    pub fn submodule(&self, branch: &str, path: &str, commit: &str) {
        let entry = ("160000", commit.to_owned(), path);
        let commit = self.commit_entries(self.commit_of(branch).as_deref(), &[entry], "a submodule");
        self.point(&format!("refs/heads/{branch}"), &commit);
    }

    /// Replaces the content of a branch with all files of a folder in one commit.
    pub fn commit_folder(&self, branch: &str, folder: &Path, message: &str) {
        let repository = self.url();
        let with_files = ["--git-dir", &repository, "--work-tree", "."];
        self.git_in(folder, &[&with_files[..], &["add", "--all", "--force", "."]].concat());
        let tree = self.git(&["write-tree"]);
        let commit = self.git(&["commit-tree", "-m", message, &tree]);
        self.point(&format!("refs/heads/{branch}"), &commit);
    }

    /// Deletes a branch.
    pub fn delete_branch(&self, branch: &str) {
        self.git(&["update-ref", "-d", &format!("refs/heads/{branch}")]);
    }

    /// Creates an annotated tag.
    pub fn tag(&self, name: &str, target: &str) {
        self.git(&["tag", "--annotate", "--message", name, "--", name, target]);
    }

    /// Creates the ref that a Git host keeps for a pull request: `refs/pull/<number>/head`, with a commit that is on no branch.
    pub fn pull_request(&self, number: u32, files: &[(&str, &str)]) -> String {
        let commit = self.commit_on(self.commit_of("main").as_deref(), files, "proposed");
        self.point(&format!("refs/pull/{number}/head"), &commit);
        commit
    }

    /// Points HEAD to a different branch.
    pub fn set_head(&self, branch: &str) {
        self.git(&["symbolic-ref", "HEAD", &format!("refs/heads/{branch}")]);
    }

    /// Points any ref to a commit.
    pub fn point(&self, reference: &str, commit: &str) {
        self.git(&["update-ref", reference, commit]);
    }

    /// Returns the commit of a branch.
    pub fn commit_of(&self, branch: &str) -> Option<String> {
        let reference = format!("refs/heads/{branch}^{{commit}}");
        let output = self.try_git(&["rev-parse", "--verify", "--quiet", &reference]);
        output.status.success().then(|| trimmed(&output))
    }

    /// Runs git in this repository and returns its output.
    ///
    /// # Panics
    /// If git fails.
    pub fn git(&self, arguments: &[&str]) -> String {
        self.git_in(&self.repository, arguments)
    }

    /// Runs git in any folder with the fixed environment of this repository.
    ///
    /// # Panics
    /// If git fails.
    pub fn git_in(&self, folder: &Path, arguments: &[&str]) -> String {
        let output = self.try_git_in(folder, arguments);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {arguments:?} in {}: {complaint}", folder.display());
        trimmed(&output)
    }

    /// Runs git in any folder and returns the result.
    pub fn try_git_in(&self, folder: &Path, arguments: &[&str]) -> Output {
        self.command(folder).args(arguments).output().expect("git is installed")
    }

    fn try_git(&self, arguments: &[&str]) -> Output {
        self.try_git_in(&self.repository, arguments)
    }

    fn commit_on(&self, parent: Option<&str>, files: &[(&str, &str)], message: &str) -> String {
        let blobs = self.blobs(files.iter().map(|(_, content)| *content));
        let entries: Vec<_> = files.iter().zip(blobs).map(|((path, _), blob)| ("100644", blob, *path)).collect();
        self.commit_entries(parent, &entries, message)
    }

    /// Writes contents as objects with one process, and returns their IDs.
    fn blobs<'c>(&self, contents: impl Iterator<Item = &'c str>) -> Vec<String> {
        let folder = tempfile::tempdir_in(self.folder.path()).expect("a temporary folder can be created");
        let paths = contents.enumerate().map(|(number, content)| {
            let path = folder.path().join(number.to_string());
            fs_err::write(&path, content).expect("a file can be written");
            format!("{}\n", path.display())
        });
        // Git answers while it reads, so its input is a file.
        let list = folder.path().join("list");
        fs_err::write(&list, paths.collect::<String>()).expect("a file can be written");
        let mut command = self.command(&self.repository);
        command.args(["hash-object", "-w", "--no-filters", "--stdin-paths"]);
        command.stdin(std::fs::File::open(list).expect("the file was just written"));
        let output = command.output().expect("git is installed");
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        trimmed(&output).lines().map(str::to_owned).collect()
    }

    /// Commits entries, each with its mode, object and path.
    fn commit_entries(&self, parent: Option<&str>, entries: &[(&str, String, &str)], message: &str) -> String {
        let index = self.folder.path().join("index");
        let git = |arguments: &[&str], input: &str| {
            let mut command = self.command(&self.repository);
            command.args(arguments).env("GIT_INDEX_FILE", &index);
            fed(&mut command, input)
        };
        match parent {
            Some(parent) => git(&["read-tree", parent], ""),
            None => git(&["read-tree", "--empty"], ""),
        };
        let lines: Vec<_> = entries.iter().map(|(mode, object, path)| format!("{mode} {object}\t{path}\0")).collect();
        git(&["update-index", "--add", "-z", "--index-info"], &lines.concat());
        let tree = git(&["write-tree"], "");
        let mut arguments = vec!["commit-tree", tree.as_str(), "-m", message];
        arguments.extend(parent.into_iter().flat_map(|parent| ["-p", parent]));
        git(&arguments, "")
    }

    fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new("git");
        command.current_dir(folder).env_clear().stdin(Stdio::null());
        command.envs(environment(self.folder.path()));
        command
    }
}

/// Returns the variables for git in tests: the machine's `PATH`, a home without configuration, and a fixed author.
pub fn environment(home: &Path) -> Vec<(String, String)> {
    let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned());
    let date = "2026-01-01T00:00:00Z";
    [
        ("PATH", path.as_str()),
        ("HOME", &home.display().to_string()),
        ("LC_ALL", "C"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_AUTHOR_NAME", "Test"),
        ("GIT_AUTHOR_EMAIL", "test@localhost"),
        ("GIT_AUTHOR_DATE", date),
        ("GIT_COMMITTER_NAME", "Test"),
        ("GIT_COMMITTER_EMAIL", "test@localhost"),
        ("GIT_COMMITTER_DATE", date),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

fn fed(command: &mut Command, input: &str) -> String {
    use std::io::Write;
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("git is installed");
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    stdin.write_all(input.as_bytes()).expect("git reads its input");
    drop(stdin);
    let output = child.wait_with_output().expect("git ends");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    trimmed(&output)
}

fn trimmed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_moves_and_rewrites_and_deletes_like_a_real_one() {
        let upstream = Upstream::new();
        let first = upstream.commit_of("main").expect("a new upstream has a commit");
        let second = upstream.commit("main", &[("a/b.txt", "1\n")], "more");
        assert_eq!(upstream.git(&["rev-parse", "main^"]), first);
        assert_eq!(upstream.git(&["show", "main:a/b.txt"]), "1");
        let rewritten = upstream.rewrite("main", &[("c.txt", "2\n")], "again");
        assert_ne!(rewritten, second);
        assert_eq!(upstream.git(&["rev-list", "--count", "main"]), "1");
        upstream.commit("topic", &[("t.txt", "3\n")], "topic");
        upstream.delete_branch("topic");
        assert_eq!(upstream.commit_of("topic"), None);
    }

    #[test]
    fn a_pull_request_has_a_commit_that_no_branch_has() {
        let upstream = Upstream::new();
        let proposed = upstream.pull_request(1, &[("p.txt", "p\n")]);
        assert_eq!(upstream.git(&["rev-parse", "refs/pull/1/head"]), proposed);
        assert_eq!(upstream.git(&["branch", "--contains", &proposed]), "");
    }

    #[test]
    fn an_empty_one_has_no_branches() {
        assert_eq!(Upstream::empty().git(&["for-each-ref"]), "");
    }
}
