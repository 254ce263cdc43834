//! The compiler of this repository's crates: clippy, and then rustdoc with the same dependencies.
//!
//! Cargo starts this program instead of `rustc`, as its workspace wrapper. Builds with clippy need no separate build for the lints, and
//! documentation that is generated with the same arguments needs no `cargo doc`, which would check all dependencies again.
//! Invariant: a crate whose lints or documentation have a warning does not compile.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use crate::console::{self, StepError};
use crate::tools::{cargo, target_folder, tools_folder};

/// The environment variable with the path of clippy's driver. Rustdoc is in the same folder.
const DRIVER: &str = "XTASK_CLIPPY_DRIVER";

/// The environment variable with the folder for the documentation.
const DOCUMENTATION: &str = "XTASK_DOCUMENTATION";

/// Arguments for clippy's lints.
const LINTS: [&str; 2] = ["--deny", "warnings"];

/// Why a crate was not compiled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompilerError {
    #[error("only `cargo xtask` starts this program as the compiler")]
    NotFromCargo,
    #[error("could not start {}: {source}", program.display())]
    Start {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The compiler has already printed the reason.
    #[error("{} failed with {status}", program.display())]
    Failed { program: PathBuf, status: ExitStatus },
}

/// Returns a command that runs cargo with this program as the compiler of this repository's crates, so that each build reports clippy's
/// lints and the errors in the documentation. The programs behave the same, but Cargo does not mix them up with those that `rustc` compiled.
pub(crate) fn checking_cargo(root: &Path) -> Result<Command, StepError> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).current_dir(root).output()?;
    let driver = Path::new(String::from_utf8_lossy(&output.stdout).trim()).join("bin/clippy-driver");
    if !driver.is_file() {
        return Err(io::Error::other("clippy is not installed (`rustup component add clippy`)").into());
    }
    let mut command = cargo(root);
    command.env("RUSTC_WORKSPACE_WRAPPER", wrapper(root)?).env(DRIVER, driver);
    command.env(DOCUMENTATION, target_folder(root).join("checked-documentation"));
    // The format in which `cargo clippy` passes arguments to clippy.
    command.env("CLIPPY_ARGS", LINTS.map(|lint| format!("{lint}__CLIPPY_HACKERY__")).concat());
    Ok(command)
}

/// Builds the program and all examples. All crates are selected, as for the tests: if Cargo built fewer crates, some dependencies would
/// have fewer features, and the tests would compile these, and everything that uses them, again.
pub(crate) fn build(root: &Path) -> Result<(), StepError> {
    console::run(checking_cargo(root)?.args(["build", "--quiet", "--workspace", "--bin", "codex-orchestrator", "--examples"]))
}

/// Returns the path of a copy of this program. The build replaces the original, whose content this process still has.
fn wrapper(root: &Path) -> io::Result<PathBuf> {
    let folder = tools_folder(root);
    let (wrapper, new) = (folder.join("checking-compiler"), folder.join(format!("checking-compiler-{}", std::process::id())));
    std::fs::create_dir_all(&folder)?;
    std::fs::copy("/proc/self/exe", &new)?;
    std::fs::rename(new, &wrapper)?;
    Ok(wrapper)
}

/// Whether the arguments of this program are those of a compiler: Cargo passes the path of `rustc` first.
pub(crate) fn is_called_by_cargo(arguments: &[String]) -> bool {
    arguments.first().is_some_and(|first| Path::new(first).file_stem() == Some(OsStr::new("rustc")))
}

/// Compiles a crate, and then generates its documentation. `arguments` are the path of `rustc` and its arguments.
pub(crate) fn run(arguments: &[String]) -> Result<(), CompilerError> {
    let (driver, folder) = (std::env::var_os(DRIVER), std::env::var_os(DOCUMENTATION));
    let (Some(driver), Some(folder)) = (driver.map(PathBuf::from), folder) else {
        return Err(CompilerError::NotFromCargo);
    };
    finish(Command::new(&driver).args(arguments), &driver)?;
    let compiler_arguments = arguments.get(1..).unwrap_or_default();
    match documentation_arguments(compiler_arguments) {
        None => Ok(()),
        Some(kept) => {
            let rustdoc = driver.with_file_name("rustdoc");
            let mut command = Command::new(&rustdoc);
            command.args(kept).args(["--document-private-items", "--deny", "warnings", "--out-dir"]).arg(folder);
            finish(&mut command, &rustdoc)
        }
    }
}

/// Returns the arguments for rustdoc, or `None` if there is nothing to document: tests, build scripts, and questions about the compiler.
fn documentation_arguments(arguments: &[String]) -> Option<Vec<&str>> {
    /// Options with a separate value.
    const KEPT: &[&str] = &["--crate-name", "--crate-type", "--cfg", "--check-cfg", "--extern", "-L"];
    const DROPPED: &[&str] = &["--out-dir", "-C"];
    let mut kept = Vec::new();
    let mut name = None;
    let mut rest = arguments.iter().map(String::as_str);
    while let Some(argument) = rest.next() {
        if argument == "--test" {
            return None;
        } else if KEPT.contains(&argument) {
            let value = rest.next()?;
            if argument == "--crate-name" {
                name = Some(value);
            }
            kept.extend([argument, value]);
        } else if DROPPED.contains(&argument) {
            rest.next();
        } else if ["--edition=", "--error-format=", "--diagnostic-width="].iter().any(|option| argument.starts_with(option)) {
            kept.push(argument);
        } else if argument.starts_with("--json=") {
            // The other kinds of messages are about files that rustdoc does not write.
            if argument.contains("diagnostic-rendered-ansi") {
                kept.push("--json=diagnostic-rendered-ansi");
            }
        } else if !argument.starts_with('-') {
            kept.push(argument);
        }
    }
    name.filter(|name| !matches!(*name, "___") && !name.starts_with("build_script_")).map(|_| kept)
}

fn finish(command: &mut Command, program: &Path) -> Result<(), CompilerError> {
    let status = command.status().map_err(|source| CompilerError::Start { program: program.into(), source })?;
    if status.success() { Ok(()) } else { Err(CompilerError::Failed { program: program.into(), status }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(arguments: &str) -> Option<String> {
        let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
        documentation_arguments(&arguments).map(|kept| kept.join(" "))
    }

    #[test]
    fn rustdoc_gets_the_dependencies_but_not_the_output_of_the_compiler() {
        let compiled = "--crate-name a --edition=2024 src/lib.rs --error-format=json --json=diagnostic-rendered-ansi,artifacts,future-incompat \
            --crate-type lib --emit=dep-info,metadata,link -C embed-bitcode=no --warn=clippy::pedantic --check-cfg cfg(docsrs) \
            -C metadata=1 --out-dir t/deps -L dependency=t/deps --extern b=t/deps/libb.rmeta";
        let documented = "--crate-name a --edition=2024 src/lib.rs --error-format=json --json=diagnostic-rendered-ansi \
            --crate-type lib --check-cfg cfg(docsrs) -L dependency=t/deps --extern b=t/deps/libb.rmeta";
        assert_eq!(kept(compiled).as_deref(), Some(documented));
    }

    #[test]
    fn tests_build_scripts_and_questions_have_no_documentation() {
        for arguments in [
            "--crate-name a src/lib.rs --emit=link --test",
            "--crate-name build_script_build build.rs --crate-type bin",
            "--crate-name ___ - --print=file-names",
            "-vV",
        ] {
            assert_eq!(kept(arguments), None, "{arguments}");
        }
    }

    #[test]
    fn only_cargo_uses_this_program_as_a_compiler() {
        let called = |first: &str| is_called_by_cargo(&[first.to_owned()]);
        assert!(called("rustc") && called("/usr/lib/rust/bin/rustc"));
        assert!(!called("test") && !is_called_by_cargo(&[]));
    }
}
