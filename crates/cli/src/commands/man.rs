//! `man`: writes the man pages of both programs, for packages and local installation.
//! The pages are generated from the definition of the command line.

use std::process::ExitCode;

use model::ErrorCode;
use model::problem::Problem;

use crate::args::ManArguments;
use crate::reference;

pub(crate) fn run(arguments: &ManArguments) -> Result<ExitCode, Problem> {
    let folder = &arguments.out;
    let write = || {
        std::fs::create_dir_all(folder)?;
        reference::programs().into_iter().try_for_each(|program| clap_mangen::generate_to(program, folder))
    };
    write().map_err(|error| {
        let detail = format!("could not write man pages to `{}`: {error}", folder.display());
        Problem::new(ErrorCode::FileNotWritable, detail)
    })?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_man_page() {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("share/man/man1");
        run(&ManArguments { out: out.clone() }).expect("the pages are written");
        for name in ["codex-orchestrator", "codex-orchestrator-task-create", "codex-orchestrator-env-add", "codex-docker-image"] {
            let page = std::fs::read_to_string(out.join(format!("{name}.1"))).expect("the page exists");
            assert!(page.contains(".SH SYNOPSIS"), "{name}: {page}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_created_is_named() {
        let problem = run(&ManArguments { out: "/proc/nowhere".into() }).expect_err("the folder cannot be created");
        assert_eq!(problem.report.code, ErrorCode::FileNotWritable);
    }
}
