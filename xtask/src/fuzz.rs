//! `cargo xtask fuzz`: builds the fuzz targets, and runs each of them for some seconds over its corpus.
//!
//! It needs no nightly compiler: the stable one can add the instrumentation that libFuzzer reads. It does not change the corpus, unless
//! you ask it to merge new inputs. Invariant: a target that fails or takes too long for an input fails the command.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::{fs, io, thread};

use crate::console::{self, StepError};
use crate::tools::{self, cargo};

/// How long each target runs, in seconds, unless you specify a duration.
const SECONDS: u32 = 1;

/// The number of targets that run at the same time.
const AT_ONCE: usize = 2;

/// The largest input that is tried, in bytes.
const INPUT_BYTES: u32 = 4096;

/// The largest corpus of a target: its inputs, and their total size in bytes.
const CORPUS_INPUTS: usize = 50;
const CORPUS_BYTES: u64 = 100_000;

/// The flags of `cargo fuzz --sanitizer none`: coverage counters, and comparisons that the fuzzer can observe.
const FLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "-Cdebug-assertions",
    "--cfg=fuzzing",
];

/// Why fuzzing failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FuzzError {
    #[error("could not build the fuzz targets: {0}")]
    Build(#[source] StepError),
    #[error("could not read the name of this machine's platform from rustc")]
    Platform,
    #[error("could not access {path}: {source}")]
    Files {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("fuzz target `{name}` not found\nhint: use one of {}", .targets.join(", "))]
    NoTarget { name: String, targets: Vec<String> },
    #[error("invalid argument `{0}`\nhint: use `cargo xtask fuzz [TARGET] [--seconds N] [--merge]`")]
    Argument(String),
    #[error("fuzz targets failed: {}", .0.join(", "))]
    Failed(Vec<String>),
}

/// What to run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct FuzzArguments {
    target: Option<String>,
    seconds: Option<u32>,
    merge: Merge,
}

/// How the targets are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Profile {
    /// The build is fast, and the targets are slow.
    Dev,
    /// The build is slow, and the targets are fast.
    Release,
}

/// Whether new inputs become part of the corpus.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Merge {
    #[default]
    No,
    Yes,
}

impl FuzzArguments {
    /// Parses the arguments of the command.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, FuzzError> {
        let mut asked = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let refused = || FuzzError::Argument(argument.clone());
            match argument.as_str() {
                "--seconds" => {
                    let seconds = rest.next().and_then(|seconds| seconds.parse().ok()).filter(|seconds| *seconds > 0);
                    asked.seconds = Some(seconds.ok_or_else(refused)?);
                }
                "--merge" => asked.merge = Merge::Yes,
                name if name.starts_with('-') || asked.target.is_some() => return Err(refused()),
                name => asked.target = Some(name.to_owned()),
            }
        }
        Ok(asked)
    }

    /// An optimized build takes minutes, so it is worth its time only if the targets then run for a specified time.
    fn profile(&self) -> Profile {
        if self.seconds.is_some() { Profile::Release } else { Profile::Dev }
    }
}

/// Builds the targets and runs them.
pub(crate) fn run(root: &Path, asked: &FuzzArguments) -> Result<(), FuzzError> {
    let all = targets(root)?;
    let targets = match &asked.target {
        None => all,
        Some(name) if all.contains(name) => vec![name.clone()],
        Some(name) => return Err(FuzzError::NoTarget { name: name.clone(), targets: all }),
    };
    let fuzzing = Fuzzing::new(root, asked.profile())?;
    console::timed("build the fuzz targets", || fuzzing.build(asked.target.as_deref()))?;
    let seconds = asked.seconds.unwrap_or(SECONDS);
    let mut failed = Vec::new();
    for group in targets.chunks(AT_ONCE) {
        let run = |target: &String| fuzzing.fuzz(target, seconds);
        let results: Vec<_> = thread::scope(|scope| {
            let started: Vec<_> = group.iter().map(|target| scope.spawn(move || run(target))).collect();
            started.into_iter().map(|thread| thread.join().expect("the thread does not panic")).collect()
        });
        for (target, result) in group.iter().zip(results) {
            let output = result?;
            let said = String::from_utf8_lossy(&output.stderr);
            if output.status.success() {
                console::say(&format!("    {target}: {}", summary(&said)));
            } else {
                console::complain(&said);
                console::complain(&format!("hint: to run the failed input again, run `{}`", fuzzing.again(target, &said)));
                failed.push(target.clone());
            }
        }
    }
    if !failed.is_empty() {
        return Err(FuzzError::Failed(failed));
    }
    match asked.merge {
        Merge::No => Ok(()),
        Merge::Yes => targets.iter().try_for_each(|target| fuzzing.merge(target)),
    }
}

/// The folders of the fuzz targets.
struct Fuzzing<'a> {
    root: &'a Path,
    platform: String,
    profile: Profile,
    /// The folder for everything that is built or found.
    built: PathBuf,
}

impl<'a> Fuzzing<'a> {
    fn new(root: &'a Path, profile: Profile) -> Result<Self, FuzzError> {
        let output = Command::new("rustc").args(["--print", "host-tuple"]).current_dir(root).output();
        let platform = output.ok().filter(|output| output.status.success()).ok_or(FuzzError::Platform)?;
        let platform = String::from_utf8_lossy(&platform.stdout).trim().to_owned();
        Ok(Self { root, platform, profile, built: tools::target_folder(root).join("fuzz") })
    }

    /// Builds the targets. The instrumentation needs an explicit platform, so that build scripts and macros are built without it.
    fn build(&self, target: Option<&str>) -> Result<(), FuzzError> {
        let mut command = cargo(self.root);
        command.args(["build", "--quiet", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--target", &self.platform]);
        command.arg("--target-dir").arg(&self.built).env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"));
        if self.profile == Profile::Release {
            command.arg("--release");
        }
        match target {
            Some(target) => command.args(["--bin", target]),
            None => command.arg("--bins"),
        };
        console::run(&mut command).map_err(FuzzError::Build)
    }

    fn program(&self, target: &str) -> PathBuf {
        let profile = match self.profile {
            Profile::Dev => "debug",
            Profile::Release => "release",
        };
        self.built.join(&self.platform).join(profile).join(target)
    }

    /// The inputs that are part of the repository.
    fn corpus(&self, target: &str) -> PathBuf {
        self.root.join("fuzz/corpus").join(target)
    }

    /// The inputs that this machine has found.
    fn found(&self, target: &str) -> PathBuf {
        self.built.join("found").join(target)
    }

    fn artifacts(&self, target: &str) -> PathBuf {
        self.root.join("fuzz/artifacts").join(target)
    }

    fn fuzz(&self, target: &str, seconds: u32) -> Result<Output, FuzzError> {
        for folder in [self.found(target), self.artifacts(target), self.corpus(target)] {
            fs::create_dir_all(&folder).map_err(|source| FuzzError::Files { path: folder, source })?;
        }
        let mut command = self.libfuzzer(target);
        command.args(["-seed=1", "-print_final_stats=1", "-timeout=5", "-rss_limit_mb=1024"]);
        command.arg(format!("-max_len={INPUT_BYTES}")).arg(format!("-max_total_time={seconds}"));
        command.arg(format!("-artifact_prefix={}/", self.artifacts(target).display()));
        // The first folder receives new inputs. The others are only read.
        command.arg(self.found(target)).arg(self.corpus(target));
        self.output(target, &mut command)
    }

    /// Replaces a corpus with a small set of inputs that reaches as much code as the corpus and the found inputs do.
    fn merge(&self, target: &str) -> Result<(), FuzzError> {
        let merged = self.built.join("merged").join(target);
        let corpus = self.corpus(target);
        if merged.exists() {
            fs::remove_dir_all(&merged).map_err(|source| FuzzError::Files { path: merged.clone(), source })?;
        }
        fs::create_dir_all(&merged).map_err(|source| FuzzError::Files { path: merged.clone(), source })?;
        let mut command = self.libfuzzer(target);
        command.args(["-set_cover_merge=1", "-timeout=5"]).arg(&merged).arg(&corpus).arg(self.found(target));
        let output = self.output(target, &mut command)?;
        if !output.status.success() {
            console::complain(&String::from_utf8_lossy(&output.stderr));
            return Err(FuzzError::Failed(vec![target.to_owned()]));
        }
        let replace = || {
            fs::remove_dir_all(&corpus)?;
            fs::create_dir_all(&corpus)?;
            let input = |input: io::Result<fs::DirEntry>| input.and_then(|input| Ok((input.metadata()?.len(), input.path())));
            let mut inputs = fs::read_dir(&merged)?.map(input).collect::<Result<Vec<_>, _>>()?;
            // If there are too many, the largest ones stay: they reach most of the code.
            inputs.sort_by(|a, b| b.cmp(a));
            let (mut count, mut bytes) = (0, 0);
            for (size, path) in inputs {
                if count < CORPUS_INPUTS && bytes + size <= CORPUS_BYTES {
                    (count, bytes) = (count + 1, bytes + size);
                    fs::copy(&path, corpus.join(path.file_name().unwrap_or_default()))?;
                }
            }
            io::Result::Ok(())
        };
        replace().map_err(|source| FuzzError::Files { path: corpus.clone(), source })
    }

    fn libfuzzer(&self, target: &str) -> Command {
        let mut command = Command::new(self.program(target));
        command.current_dir(self.root).stdin(Stdio::null());
        command
    }

    fn output(&self, target: &str, command: &mut Command) -> Result<Output, FuzzError> {
        command.output().map_err(|source| FuzzError::Files { path: self.program(target), source })
    }

    /// Returns the command that runs a failed input again.
    fn again(&self, target: &str, said: &str) -> String {
        let input = said.lines().find_map(|line| line.split_once("Test unit written to ").map(|(_, path)| path));
        format!("{} {}", self.program(target).display(), input.unwrap_or("FILE"))
    }
}

/// Returns the names of all targets: the sources of programs in `fuzz/fuzz_targets`.
fn targets(root: &Path) -> Result<Vec<String>, FuzzError> {
    let path = root.join("fuzz/Cargo.toml");
    let text = fs::read_to_string(&path).map_err(|source| FuzzError::Files { path, source })?;
    let names = text.split("[[bin]]").skip(1).filter_map(|bin| bin.split_once("name = \"")?.1.split_once('"'));
    Ok(names.map(|(name, _)| name.to_owned()).collect())
}

/// Returns the number of executions from the statistics of libFuzzer.
fn summary(said: &str) -> String {
    let of = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)).map_or("?", str::trim);
    format!("{} inputs, {} per second", of("stat::number_of_executed_units:"), of("stat::average_exec_per_sec:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(arguments: &[&str]) -> Option<FuzzArguments> {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.into()).collect();
        FuzzArguments::parse(&arguments).ok()
    }

    #[test]
    fn a_target_and_a_duration_are_optional() {
        let target = Some("names".to_owned());
        assert_eq!(asked(&[]), Some(FuzzArguments::default()));
        assert_eq!(asked(&["names"]), Some(FuzzArguments { target: target.clone(), ..FuzzArguments::default() }));
        let all = FuzzArguments { target, seconds: Some(60), merge: Merge::Yes };
        assert_eq!(asked(&["--seconds", "60", "names", "--merge"]), Some(all));
        assert_eq!(FuzzArguments::default().profile(), Profile::Dev);
        assert_eq!(asked(&["--seconds", "60"]).map(|asked| asked.profile()), Some(Profile::Release));
        for bad in [&["--seconds"][..], &["--seconds", "x"], &["--seconds", "0"], &["a", "b"], &["--release"]] {
            assert_eq!(asked(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn each_target_has_a_source_and_a_corpus() {
        let root = crate::root();
        let targets = targets(root).expect("the manifest is readable");
        assert!(targets.len() >= 8, "{targets:?}");
        for target in targets {
            assert!(root.join(format!("fuzz/fuzz_targets/{target}.rs")).is_file(), "{target}");
            let corpus = fs::read_dir(root.join("fuzz/corpus").join(&target)).expect("each target has a corpus");
            let sizes: Vec<u64> = corpus.map(|input| input.and_then(|input| input.metadata()).map_or(0, |it| it.len())).collect();
            let fits = sizes.len() <= CORPUS_INPUTS && sizes.iter().sum::<u64>() <= CORPUS_BYTES;
            assert!(fits && !sizes.is_empty(), "{target}: {sizes:?}");
        }
    }

    #[test]
    fn the_summary_comes_from_the_statistics() {
        let said = "#9 DONE\nstat::number_of_executed_units: 4200\nstat::average_exec_per_sec:     840\n";
        assert_eq!(summary(said), "4200 inputs, 840 per second");
    }
}
