//! Tests of whole commands with a server that gives prepared answers, and what the tests of this program share.
//!
//! Tests of single functions are in the files that contain them.

mod arguments;
mod artifacts;
mod exports;
mod following;
mod hostile;
mod housekeeping;
mod installed;
mod lookups;
mod repositories;
pub(crate) mod samples;
pub(crate) mod stage;
mod tasks;

use super::*;

fn dispatched(words: &[&str]) -> Option<Vec<String>> {
    let arguments = for_codex_docker(words.iter().map(OsString::from).collect())?;
    Some(arguments.into_iter().map(|word| word.into_string().expect("text")).collect())
}

#[test]
fn one_program_answers_to_two_names() {
    for words in
        [&["codex-docker", "exec", "-"][..], &["/usr/bin/codex-docker", "exec", "-"], &["orch", "codex-docker", "exec", "-"]]
    {
        assert_eq!(dispatched(words).expect("the name is codex-docker"), ["exec", "-"]);
    }
    assert_eq!(dispatched(&["codex-docker"]).expect("codex-docker needs no arguments"), Vec::<String>::new());
    assert_eq!(dispatched(&["codex-docker", "codex-docker"]).expect("the second word is an argument"), ["codex-docker"]);
    for words in [&["orch"][..], &["orch", "status"], &["orch", "task", "codex-docker"], &[]] {
        assert_eq!(dispatched(words), None, "{words:?}");
    }
}
